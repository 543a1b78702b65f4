"""Moving scenes: reproducible, exact masks of the same objects, some of which are covered or
leave."""

from __future__ import annotations

from itertools import islice, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samdeploy.moving_scenes import SceneFrame, moving_scene


@pytest.fixture(scope="module")
def clips() -> list[list[SceneFrame]]:
    return [list(moving_scene(seed, 40, 96)) for seed in range(12)]


@given(seed=st.integers(0, 10_000), frames=st.integers(1, 4))
@settings(max_examples=5, deadline=None)
def test_a_clip_follows_from_its_seed(seed: int, frames: int) -> None:
    first, second = list(moving_scene(seed, frames, 64)), list(moving_scene(seed, frames + 1, 64))
    assert (len(first), len(second)) == (frames, frames + 1)
    for one, other in zip(first, second, strict=False):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.masks, other.masks)
        np.testing.assert_array_equal(one.visible, other.visible)


def test_other_seeds_give_other_clips() -> None:
    images = {next(moving_scene(seed, 1, 64)).image.tobytes() for seed in range(12)}
    assert len(images) == 12


@given(seed=st.integers(0, 10_000), height=st.integers(48, 100), width=st.integers(48, 100))
@settings(max_examples=10, deadline=None)
def test_shapes_types_and_ranges(seed: int, height: int, width: int) -> None:
    frames = list(moving_scene(seed, 3, (height, width)))
    count = len(frames[0].masks)
    assert 4 <= count <= 8
    for frame in frames:
        assert frame.image.shape == (height, width, 3)
        assert frame.image.dtype == np.uint8
        assert frame.masks.shape == (count, height, width)
        assert frame.masks.dtype == bool
        assert frame.masks.sum(axis=0).max() <= 1
        assert frame.visible.shape == (count,)
        # Something of an object is visible just where it has pixels.
        np.testing.assert_array_equal(frame.visible > 0, frame.masks.any(axis=(1, 2)))
        assert frame.visible.max() <= 1


def test_only_as_many_frames_are_made_as_are_asked_for() -> None:
    assert len(list(islice(moving_scene(0, 10**9, 48), 2))) == 2


def test_objects_move_steadily(clips: list[list[SceneFrame]]) -> None:
    """The centre of one that is all visible goes the same way from frame to frame."""
    checked = 0
    for clip in clips:
        for index in range(len(clip[0].masks)):
            seen = [frame.masks[index] for frame in clip if frame.visible[index] > 0.96]
            if len(seen) < len(clip):
                continue
            centres = np.array([np.argwhere(mask).mean(axis=0) for mask in seen])
            steps = np.diff(centres, axis=0)
            assert np.abs(steps - steps.mean(axis=0)).max() < 1.5  # pixels: it turns as well
            assert np.linalg.norm(steps.mean(axis=0)) < 0.02 * 96
            checked += 1
    assert checked >= 5


def test_some_are_covered_some_leave_and_some_stay(clips: list[list[SceneFrame]]) -> None:
    seen = np.concatenate([[f.visible for f in clip] for clip in clips], axis=1)
    begun = seen[:, seen[0] > 0.9]
    assert (begun[-1] < 0.05).sum() >= 2  # gone
    assert (begun.min(axis=0) > 0.9).mean() > 0.3  # there all the time
    covered = begun[:, (begun.min(axis=0) < 0.6) & (begun[-1] > 0.8)]
    assert covered.shape[1] >= 1  # and back again


def test_what_is_painted_where_the_mask_is_stays_with_the_object(
    clips: list[list[SceneFrame]],
) -> None:
    for clip in clips:
        for before, after in pairwise(clip):
            both = (before.visible > 0.9) & (after.visible > 0.9)
            for index in np.flatnonzero(both):
                if before.masks[index].sum() > 60:
                    colours = [f.image[f.masks[index]].mean(axis=0) for f in (before, after)]
                    assert np.linalg.norm(colours[0] - colours[1]) < 15
