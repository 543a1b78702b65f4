"""``SAM.track``: what it is given and gives, and the shipped model on moving scenes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from samdeploy import SAM, InputError, Prompt, Tracked
from samdeploy.benchmarks.track_scores import TrackScores, chosen_objects, outer_box, score_clip
from samdeploy.masks.drawing import colour
from samdeploy.moving_scenes import moving_scene
from samdeploy.scenes import Scene

BOX, OTHER = [20, 30, 90, 110], [120, 40, 200, 100]


@pytest.fixture(scope="module")
def fake() -> Iterator[SAM]:
    """Answers a box with the box, whatever the image."""
    with SAM("anything", runtime="fake") as sam:
        yield sam


@pytest.fixture(scope="module")
def tiny(tiny_bundle: Path) -> Iterator[SAM]:
    with SAM(tiny_bundle, threads=1) as sam:
        yield sam


@pytest.fixture
def clip(scene: Scene) -> list[np.ndarray]:
    return [scene.image] * 3


def test_a_list_or_one_by_one(fake: SAM, clip: list[np.ndarray]) -> None:
    results = fake.track(clip, bboxes=[BOX, OTHER])
    assert isinstance(results, list)
    assert [result.ids.tolist() for result in results] == [[0, 1]] * 3
    streamed = fake.track(clip, bboxes=[BOX, OTHER], stream=True)
    assert not isinstance(streamed, list)
    first = next(streamed)
    np.testing.assert_array_equal(first.masks.data, results[0].masks.data)


def test_the_first_frame_is_what_predict_answers(fake: SAM, clip: list[np.ndarray]) -> None:
    mask = np.zeros(clip[0].shape[:2], bool)
    mask[40:90, 50:120] = True
    prompts = [Prompt(box=BOX), Prompt(points=[60, 60]), Prompt(mask=mask)]
    first = fake.track(clip, prompts=prompts)[0]
    expected = fake.predict(clip[0], prompts=prompts)
    np.testing.assert_array_equal(first.masks.data, expected.data)
    np.testing.assert_array_equal(first.masks.scores, expected.scores)
    np.testing.assert_array_equal(first.masks.low_res_logits, expected.low_res_logits)


def test_every_form_of_prompts(fake: SAM, clip: list[np.ndarray]) -> None:
    for given in (
        {"bboxes": BOX},
        {"prompts": Prompt(box=BOX)},
        {"prompts": [Prompt(box=BOX)]},
        {"prompts": {0: [Prompt(box=BOX)]}},
    ):
        assert [r.ids.tolist() for r in fake.track(clip, **given)] == [[0]] * 3  # type: ignore[arg-type]
    later = fake.track(clip, prompts={1: [Prompt(box=BOX)]})
    assert [(r.ids.tolist(), r.lost) for r in later] == [([], ()), ([0], ()), ([0], ())]


def test_what_is_refused_at_once(fake: SAM, clip: list[np.ndarray]) -> None:
    for given, why in (
        ({}, "no prompt given"),
        ({"bboxes": np.zeros((0, 4))}, "no object to follow"),
        ({"bboxes": BOX, "prompts": [Prompt(box=BOX)]}, "give one form"),
        ({"bboxes": BOX, "search_frame": 3}, "unknown setting"),
        ({"bboxes": BOX, "lost_below": 2}, "expected a number from 0 to 1"),
    ):
        with pytest.raises(InputError, match=why):
            fake.track(clip, stream=True, **given)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="expected a video"):
        fake.track(3, bboxes=BOX)  # type: ignore[arg-type]


class TestTracked:
    @pytest.fixture
    def tracked(self, fake: SAM, clip: list[np.ndarray]) -> Tracked:
        first = fake.track(clip, bboxes=[OTHER, BOX], channel_order="rgb")[0]
        return Tracked(4, first.masks[[1]], (0,), {0: 0.25, 1: 0.987654}, "clip.mp4 5")

    def test_json(self, tracked: Tracked) -> None:
        (x1, y1, x2, y2), area = tracked.masks.boxes[0].tolist(), int(tracked.masks.areas[0])
        assert json.loads(json.dumps(tracked.to_json())) == {
            "frame": 4,
            "name": "clip.mp4 5",
            "objects": [{"id": 1, "box": [x1, y1, x2, y2], "area": area, "score": 0.9877}],
            "lost": [0],
        }

    def test_the_colour_is_the_ids(self, tracked: Tracked) -> None:
        image = tracked.masks.image
        assert image is not None
        inside = (tracked.plot()[60, 60].astype(int) * 2 - image[60, 60]) - colour(1)
        assert np.abs(inside).max() <= 2
        assert (tracked.plot()[130:] == image[130:]).all()

    def test_without_its_picture(self, tracked: Tracked) -> None:
        tracked.masks.image = None
        with pytest.raises(InputError, match="do not know their image"):
            tracked.plot()


@pytest.mark.exporting
class TestShippedModel:
    def test_objects_are_followed(self, tiny: SAM) -> None:
        scores = TrackScores()
        for seed in (1001, 1005):
            score_clip(tiny, list(moving_scene(seed, 12)), scores)
        found = scores.summary()
        assert found["there"] >= 60
        assert found["iou_all"] >= 0.75
        assert found["wrong_object"] == 0

    def test_one_that_leaves_is_reported_as_lost(self, tiny: SAM) -> None:
        """Played from when it is last seen whole; nothing is reported where nothing is."""
        clip = list(moving_scene(1020, 60))
        seen = np.array([frame.visible for frame in clip])
        leaving = int(np.flatnonzero((seen[0] > 0.9) & (seen[-1] == 0))[0])
        begin = int(np.flatnonzero(seen[:, leaving] > 0.9)[-1])
        end = int(np.flatnonzero(seen[:, leaving] == 0)[0]) + 4
        images = [frame.image for frame in clip[begin:end]]
        box = outer_box(clip[begin].masks[leaving])
        results = tiny.track(images, bboxes=box, channel_order="rgb")
        assert results[0].ids.tolist() == [0]
        gone = seen[begin:end, leaving] == 0
        assert gone.sum() >= 3
        assert all(r.lost == (0,) for r, out in zip(results, gone, strict=True) if out)

    def test_after_a_cut_everything_is_lost(self, tiny: SAM) -> None:
        before = [frame.image for frame in islice(moving_scene(1001), 3)]
        after = [frame.image for frame in islice(moving_scene(1004), 3)]
        first = next(moving_scene(1001))
        box = outer_box(first.masks[chosen_objects(first)[0]])
        results = tiny.track(before + after, bboxes=box, channel_order="rgb")
        assert [result.lost for result in results] == [()] * 3 + [(0,)] * 3
