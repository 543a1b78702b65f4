"""What becomes of objects from frame to frame, with a segmenter that sees colours."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from samdeploy import InputError, Prompt
from samdeploy.tracking.frames import Frame
from samdeploy.tracking.settings import TrackSettings
from samdeploy.tracking.track import MAX_BATCH, by_frame, track
from tests.tracking.painted import (
    BLUE,
    GREEN,
    QUALITIES,
    RED,
    SIDE,
    ColourModel,
    follow,
    new_tracker,
    paint,
    sliding,
)

RED_BOX, GREEN_BOX = (16, 48, 48, 80), (80, 16, 104, 40)


def test_an_object_is_followed_where_it_goes() -> None:
    images = [paint((box, RED)) for box in sliding(12, RED_BOX, (4, 0))]
    results = follow(images, Prompt(box=RED_BOX))
    assert [result.frame for result in results] == list(range(12))
    for image, result in zip(images, results, strict=True):
        assert result.ids.tolist() == [0]
        assert result.lost == ()
        assert result.scores[0] > 0.8
        overlap = result.masks.data[0] == image.any(axis=2)
        assert overlap.mean() > 0.97  # cells are 4 pixels wide
        assert result.masks.image is image


def test_motion_is_expected_to_go_on() -> None:
    """A small object leaves its place altogether between two frames; having begun slowly, it is
    followed."""
    corners = np.cumsum([0, 4, 6, 9, 12, 14, 14, 14])
    images = [paint(((x, 40, x + 16, 56), RED)) for x in corners.tolist()]
    assert [result.lost for result in follow(images, Prompt(points=[8, 48]))] == [()] * 8
    # Without having been seen in between it is not taken for the same.
    assert follow([images[0], images[5]], Prompt(points=[8, 48]))[1].lost == (0,)


def test_one_that_leaves_is_lost_and_given_up() -> None:
    images = [paint((box, RED)) for box in sliding(20, RED_BOX, (-8, 0))]
    model = ColourModel()
    results = follow(images, Prompt(box=RED_BOX), model=model, search_frames=5)
    there = [bool(image.any()) for image in images]
    assert [result.ids.tolist() == [0] for result in results][:4] == [True] * 4
    for result, visible in zip(results, there, strict=True):
        assert visible or (result.ids.tolist() == [] and result.lost == (0,))
        assert len(result.masks) + len(result.lost) == 1
    # Nobody looks for it in the end, so that nothing is encoded.
    assert model.encoded < len(images)
    assert results[-1].scores == {}


def test_one_that_is_covered_is_lost_and_found_again() -> None:
    wall = ((60, 0, 90, SIDE), BLUE)
    images = [paint((box, RED), wall) for box in sliding(26, (8, 56, 32, 80), (4, 0))]
    results = follow(images, Prompt(box=(8, 56, 32, 80)))
    seen = [(image == RED).all(axis=2).sum() for image in images]
    followed = [result.ids.tolist() == [0] for result in results]
    assert not any(f for f, pixels in zip(followed, seen, strict=True) if pixels == 0)
    assert 0 in seen[:16]
    assert followed[0]
    assert followed[-3:] == [True] * 3
    assert (images[-1] == RED).all(axis=2)[results[-1].masks.data[0]].mean() > 0.9


def test_one_that_comes_back_too_late_is_not_found() -> None:
    wall = ((60, 0, 90, SIDE), BLUE)
    images = [paint((box, RED), wall) for box in sliding(26, (8, 56, 32, 80), (4, 0))]
    assert follow(images, Prompt(box=(8, 56, 32, 80)), search_frames=1)[-1].lost == (0,)


def test_ids_stay_when_objects_cross() -> None:
    right, left = sliding(20, (4, 40, 28, 64), (5, 0)), sliding(20, (100, 48, 124, 80), (-5, 0))
    images = [paint((a, RED), (b, GREEN)) for a, b in zip(right, left, strict=True)]
    results = follow(images, Prompt(box=(4, 40, 28, 64)), Prompt(box=(100, 48, 124, 80)))
    assert results[-1].ids.tolist() == [0, 1]
    for image, result in zip(images, results, strict=True):
        for id, mask in zip(result.ids.tolist(), result.masks.data, strict=True):
            colour = (RED, GREEN)[id]
            assert (image[mask] == colour).all(axis=1).mean() > 0.75


@pytest.mark.parametrize("other", [((70, 70, 120, 120), BLUE), (RED_BOX, GREEN), None])
def test_after_a_cut_everything_is_lost(
    other: tuple[tuple[int, int, int, int], tuple[int, int, int]] | None,
) -> None:
    """Also where the next scene has another object in the same place."""
    before, after = paint((RED_BOX, RED)), paint(*([other] if other else []))
    results = follow([before, before, after, after], Prompt(box=RED_BOX))
    assert [result.lost for result in results] == [(), (), (0,), (0,)]
    assert len(results[-1].masks) == 0
    assert results[-1].masks.data.shape == (0, SIDE, SIDE)


def test_objects_may_begin_later_and_have_the_next_ids() -> None:
    images = [paint((RED_BOX, RED)), *[paint((RED_BOX, RED), (GREEN_BOX, GREEN))] * 3]
    frames = [Frame(str(index), image) for index, image in enumerate(images)]
    model = ColourModel()
    wanted = by_frame({2: [Prompt(box=GREEN_BOX)], 0: [Prompt(box=RED_BOX)]})
    results = list(track(model.encode, model, frames, wanted, TrackSettings()))
    assert [result.ids.tolist() for result in results] == [[0], [0], [0, 1], [0, 1]]
    assert [result.lost for result in results] == [()] * 4
    assert [result.name for result in results] == ["0", "1", "2", "3"]


def test_a_prompt_that_shows_nothing_begins_as_lost() -> None:
    images = [paint((RED_BOX, RED))] * 3
    results = follow(images, Prompt(points=[120, 120]), Prompt(box=RED_BOX))
    assert [result.ids.tolist() for result in results] == [[1]] * 3
    assert [result.lost for result in results] == [(0,)] * 3


def test_the_family_says_which_mask_is_the_first() -> None:
    model = ColourModel()
    images = [paint((RED_BOX, RED))] * 2
    assert follow(images, Prompt(box=RED_BOX), model=model)[0].scores[0] == pytest.approx(0.95)
    model.single_mask = lambda logits, iou: np.full(len(iou), 2)
    results = follow(images, Prompt(box=RED_BOX), model=model)
    assert results[0].scores[0] == pytest.approx(QUALITIES[2])
    # Later on, whichever fits best.
    assert results[1].masks.scores[0] == pytest.approx(QUALITIES[0])


def test_each_frame_is_encoded_once_and_asked_in_one_batch() -> None:
    model = ColourModel()
    images = [paint((RED_BOX, RED), (GREEN_BOX, GREEN))] * 5
    follow(images, Prompt(box=RED_BOX), Prompt(box=GREEN_BOX), model=model)
    assert model.encoded == 5
    assert model.batches == [2, 4, 4, 4, 4]  # a box and a point each


def test_many_objects_are_asked_in_several_batches() -> None:
    model = ColourModel()
    prompts = [Prompt(box=RED_BOX)] * (MAX_BATCH + 1)
    results = follow([paint((RED_BOX, RED))] * 2, *prompts, model=model)
    assert results[1].ids.tolist() == list(range(MAX_BATCH + 1))
    assert max(model.batches) == MAX_BATCH
    assert sum(model.batches) == 3 * (MAX_BATCH + 1)


def test_frames_are_read_as_results_are_asked_for() -> None:
    read = []

    def frames() -> Iterator[Frame]:
        for index in range(10**6):
            read.append(index)
            yield Frame("", paint((RED_BOX, RED)))

    model = ColourModel()
    results = track(model.encode, model, frames(), {0: [Prompt(box=RED_BOX)]}, TrackSettings())
    assert next(results).frame == 0
    assert next(results).frame == 1
    assert read == [0, 1]


def test_a_score_is_a_share() -> None:
    images = [paint((box, RED)) for box in sliding(12, RED_BOX, (9, 3))]
    for result in follow(images, Prompt(box=RED_BOX)):
        assert all(0 <= score <= 1 for score in result.scores.values())


def test_steps_may_be_taken_one_by_one() -> None:
    tracker = new_tracker(ColourModel())
    frame = Frame("camera", paint((RED_BOX, RED)))
    assert tracker.step(frame, {0: Prompt(box=RED_BOX)}).ids.tolist() == [0]
    assert tracker.step(frame).frame == 1


class TestPromptsByFrame:
    def test_without_numbers_they_are_of_the_first(self) -> None:
        prompt = Prompt(points=[1, 1])
        assert by_frame([prompt]) == {0: [prompt]}

    @pytest.mark.parametrize("nothing", [[], {}, {3: []}])
    def test_none(self, nothing: list[Prompt] | dict[int, list[Prompt]]) -> None:
        with pytest.raises(InputError, match="no object to follow"):
            by_frame(nothing)

    @pytest.mark.parametrize("frame", [-1, 1.5, "2", True])
    def test_a_number_that_is_none(self, frame: object) -> None:
        with pytest.raises(InputError, match=r"frame of prompts=.*expected a whole number from 0"):
            by_frame({frame: [Prompt(points=[1, 1])]})  # type: ignore[dict-item]

    def test_a_frame_that_does_not_come(self) -> None:
        model = ColourModel()
        wanted = by_frame({0: [Prompt(box=RED_BOX)], 7: [Prompt(box=RED_BOX)]})
        frames = [Frame("", paint((RED_BOX, RED)))] * 3
        with pytest.raises(InputError, match="prompts for frame 7; there are 3 frames"):
            list(track(model.encode, model, frames, wanted, TrackSettings()))

    def test_a_prompt_outside_its_frame(self) -> None:
        with pytest.raises(InputError, match=r"point \(500, 3\) is outside the image"):
            follow([paint()], Prompt(points=[500, 3]))
