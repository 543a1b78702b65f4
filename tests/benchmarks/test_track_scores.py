"""The measurement of tracking, and that the documentation says what was measured."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samdeploy import SAM
from samdeploy.benchmarks.track_scores import (
    TrackScores,
    chosen_objects,
    outer_box,
    score_clip,
    score_clips,
    total,
)
from samdeploy.masks.masks import Masks
from samdeploy.masks.rle import Rle
from samdeploy.moving_scenes import SceneFrame
from samdeploy.tracking.tracked import Tracked

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/tracking.md").read_text()
RECORD = json.loads((ROOT / "benchmarks/results/track_sam_tiny.json").read_text())

SIDE = 64


def square(x: int, side: int = 16) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[8 : 8 + side, x : x + side] = True
    return mask


def frame(*masks: np.ndarray, visible: list[float] | None = None) -> SceneFrame:
    return SceneFrame(
        np.zeros((SIDE, SIDE, 3), np.uint8),
        np.stack(masks),
        np.array(visible or [1.0] * len(masks)),
    )


class Scripted:
    """Answers with the given masks by id, frame by frame."""

    def __init__(self, *answers: dict[int, np.ndarray]) -> None:
        self._answers = answers
        self.asked: dict[str, Any] = {}

    def track(self, images: list[np.ndarray], **asked: Any) -> Iterator[Tracked]:
        self.asked = asked
        for number, masks in enumerate(self._answers):
            rles = [Rle.encode(mask) for mask in masks.values()]
            found = Masks.from_rles(
                rles, (SIDE, SIDE), np.ones(len(masks)), prompt_index=list(masks)
            )
            yield Tracked(number, found, (), {})


def test_what_is_chosen() -> None:
    masks = [square(0, 20), square(22, 4), square(30, 16), square(50, 9), square(0, 12), square(0)]
    # Large but covered; too small; then by size, three at most.
    first = frame(*masks, visible=[0.8, 1, 1, 1, 0.95, 0.9])
    assert chosen_objects(first).tolist() == [2, 5, 4]
    assert len(chosen_objects(frame(square(0, 4)))) == 0


def test_boxes_are_outer_edges() -> None:
    assert outer_box(square(30)).tolist() == [30, 8, 46, 24]


def test_every_outcome_is_counted() -> None:
    whole, half, sliver = square(8), square(16), np.zeros((SIDE, SIDE), bool)
    sliver[8:10, 8:10] = True  # 4 of 4096 pixels: neither there nor gone
    nothing = np.zeros((SIDE, SIDE), bool)
    clip = [frame(m) for m in (whole, whole, whole, whole, sliver, sliver, nothing, nothing)]
    sam = Scripted({0: whole}, {0: half}, {0: square(40)}, {}, {0: whole}, {}, {0: whole}, {})
    scores = TrackScores()
    score_clip(sam, clip, scores, search_frames=3)  # type: ignore[arg-type]
    assert sam.asked["search_frames"] == 3
    np.testing.assert_array_equal(sam.asked["bboxes"], [[8, 8, 24, 24]])
    found = scores.summary()
    assert scores.overlaps == pytest.approx([1, 1 / 3, 0])
    assert found["iou_followed"] == pytest.approx((1 + 1 / 3) / 3, abs=1e-4)
    assert found["iou_all"] == pytest.approx((1 + 1 / 3) / 4, abs=1e-4)
    assert {name: found[name] for name in ("there", "lost_though_there", "wrong_object")} == {
        "there": 4, "lost_though_there": 1, "wrong_object": 1,
    }  # fmt: skip
    assert (found["gone"], found["followed_though_gone"]) == (2, 1)
    both = total([scores, scores]).summary()
    assert (both["there"], both["iou_all"], both["frames"]) == (8, found["iou_all"], 16)


def test_the_documentation_says_what_was_measured() -> None:
    found = RECORD["all"]
    for words, value in (
        ("counting losses as 0", f"{found['iou_all']:.2f}"),
        ("while followed", f"{found['iou_followed']:.2f}"),
        ("lost although it is there", f"{found['lost_though_there']} of {found['there']}"),
        ("of something else", f"{found['wrong_object']} of {found['there']}"),
        ("processor time", f"{found['cpu_ms_per_frame']:.0f} ms"),
        ("although it is gone", f"{found['followed_though_gone']} of {found['gone']}"),
    ):
        assert re.search(rf"^\|[^|]*{words}[^|]*\| {re.escape(value)} \|", PAGE, re.M), words
    assert RECORD["frames"] == 60
    assert [int(seed) for seed in RECORD["clips"]] == list(range(20))
    assert not RECORD["settings"]
    assert found["iou_all"] >= 0.75


@pytest.mark.slow
@pytest.mark.overnight
def test_the_record_is_reached(tiny_bundle: Path) -> None:
    with SAM(tiny_bundle) as sam:
        for seed, scores in score_clips(sam, range(3)):
            found, recorded = scores.summary(), RECORD["clips"][str(seed)]
            assert found["there"] == recorded["there"]
            assert found["iou_all"] == pytest.approx(recorded["iou_all"], abs=0.03)
            assert found["lost_though_there"] <= recorded["lost_though_there"] + 5
