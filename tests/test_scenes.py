"""The procedural scenes: reproducible, exact masks, and what makes them worth learning."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samdeploy.scenes import Scene, generate_scene


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [generate_scene(seed) for seed in range(24)]


@given(seed=st.integers(0, 10_000))
@settings(max_examples=5, deadline=None)
def test_a_scene_follows_from_its_seed(seed: int) -> None:
    first, second = generate_scene(seed), generate_scene(seed)
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.masks, second.masks)


def test_other_seeds_give_other_scenes(scenes: Sequence[Scene]) -> None:
    digests = {hashlib.sha256(scene.image.tobytes()).digest() for scene in scenes}
    assert len(digests) == len(scenes)


@pytest.mark.parametrize(("size", "shape"), [(256, (256, 256)), (64, (64, 64)), ((480, 640),) * 2])
def test_shapes_and_types(size: int | tuple[int, int], shape: tuple[int, int]) -> None:
    scene = generate_scene(3, size)
    assert scene.image.shape == (*shape, 3)
    assert scene.image.dtype == np.uint8
    assert scene.masks.shape[1:] == shape
    assert scene.masks.dtype == bool


def test_masks_are_disjoint_visible_parts_and_not_tiny(scenes: Sequence[Scene]) -> None:
    for scene in scenes:
        assert scene.masks.sum(axis=0).max() <= 1
        assert scene.masks.sum(axis=(1, 2)).min() >= 100


def test_scenes_hold_a_sensible_number_of_objects_of_many_sizes(scenes: Sequence[Scene]) -> None:
    counts = [len(scene.masks) for scene in scenes]
    assert min(counts) >= 2
    assert max(counts) <= 12
    shares = np.concatenate([scene.masks.mean(axis=(1, 2)) for scene in scenes])
    assert (shares < 0.01).mean() > 0.1
    assert (shares > 0.05).mean() > 0.1


def test_some_objects_have_holes_and_some_are_cut_in_pieces(scenes: Sequence[Scene]) -> None:
    holes = pieces = 0
    for scene in scenes:
        for mask in scene.masks:
            _, hierarchy = cv2.findContours(
                mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
            )
            parents = hierarchy.reshape(-1, 4)[:, 3]
            holes += bool((parents >= 0).any())
            pieces += int((parents < 0).sum()) > 1
    assert holes > 10
    assert pieces > 10


def test_objects_differ_from_what_surrounds_them(scenes: Sequence[Scene]) -> None:
    """Mean colour of an object against that of the ring just outside: different for nearly all."""
    distances = []
    for scene in scenes:
        for mask in scene.masks:
            grown = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
            inside = scene.image[mask].mean(axis=0)
            outside = scene.image[grown & ~mask].mean(axis=0)
            distances.append(float(np.linalg.norm(inside - outside)))
    assert np.mean(np.array(distances) > 20) > 0.9
