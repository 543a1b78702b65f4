"""Filters of whole-image mode against the official helpers, and their properties."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as random_arrays

from samdeploy.masks.postprocess import (
    fill_holes,
    mask_boxes,
    near_crop_edge,
    nms,
    remove_islands,
    stability_scores,
)
from samdeploy.masks.rle import Rle

FOLDER = Path(__file__).parent / "golden/amg"
HELPERS = json.loads((FOLDER / "helpers.json").read_text())
small_masks = random_arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


@pytest.fixture(scope="module")
def arrays() -> Any:
    return np.load(FOLDER / "helpers.npz")


@pytest.mark.parametrize("case", HELPERS["stability"])
def test_stability_scores(case: dict[str, Any], arrays: Any) -> None:
    expected = [np.nan if score is None else score for score in case["scores"]]
    found = stability_scores(arrays["stability/logits"], case["offset"], case["mask_threshold"])
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


@pytest.mark.parametrize("case", HELPERS["rle"], ids=lambda case: case["mask"])
def test_mask_boxes(case: dict[str, Any], arrays: Any) -> None:
    mask = arrays[case["mask"].removeprefix("helpers.npz[").removesuffix("]")].astype(bool)
    np.testing.assert_array_equal(mask_boxes(mask[None]), [case["box_xyxy"]])


@given(random_arrays(bool, st.tuples(st.integers(0, 4), st.integers(1, 9), st.integers(1, 9))))
def test_mask_boxes_are_tight(masks: np.ndarray) -> None:
    boxes = mask_boxes(masks)
    assert boxes.shape == (len(masks), 4)
    for mask, box in zip(masks, boxes, strict=True):
        y, x = np.nonzero(mask)
        expected = [x.min(), y.min(), x.max(), y.max()] if len(x) else [0, 0, 0, 0]
        np.testing.assert_array_equal(box, expected)


@given(small_masks)
def test_boxes_of_run_lengths_are_those_of_the_pixels(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(Rle.encode(mask).box, mask_boxes(mask[None])[0])


@pytest.mark.parametrize("case", HELPERS["is_box_near_crop_edge"])
def test_near_crop_edge(case: dict[str, Any]) -> None:
    _, _, width, height = case["orig_box"]
    x, y = case["crop_box"][:2]
    boxes = np.array(case["boxes_in_crop_frame"], np.float32) + np.array([x, y, x, y], np.float32)
    found = near_crop_edge(boxes, tuple(case["crop_box"]), (height, width))
    np.testing.assert_array_equal(found, case["near"])


@pytest.mark.parametrize("case", HELPERS["batched_nms_stub"])
def test_nms(case: dict[str, Any]) -> None:
    boxes, scores = (np.array(case[key], np.float32) for key in ("boxes", "scores"))
    np.testing.assert_array_equal(nms(boxes, scores, case["iou_threshold"]), case["keep"])


def test_nms_compares_in_double() -> None:
    # The IoU is 1/10, which float32 rounds to above 0.1.
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 1]], np.float32)
    assert nms(boxes, np.array([1, 0.5], np.float32), 0.1).tolist() == [0]


def test_nms_of_nothing() -> None:
    assert nms(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), 0.5).tolist() == []


@given(
    st.lists(st.tuples(*[st.integers(0, 20)] * 4, st.sampled_from([0.25, 0.5, 0.75])), max_size=12),
    st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]),
)
def test_nms_keeps_what_no_better_kept_box_covers(
    rows: list[tuple[int, int, int, int, float]], threshold: float
) -> None:
    table = np.array(rows, np.float32).reshape(-1, 5)
    boxes = np.concatenate([table[:, :2], table[:, :2] + table[:, 2:4]], axis=1)
    kept = nms(boxes, table[:, 4], threshold).tolist()

    def iou(a: np.ndarray, b: np.ndarray) -> float:
        sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
        shared = float(np.clip(sides, 0, None).prod())
        union = float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod()) - shared
        # In float32 as in torchvision: it decides where the overlap is the threshold exactly.
        return float(np.float32(shared) / np.float32(union)) if union else 0.0

    ranked = sorted(range(len(rows)), key=lambda i: -table[i, 4])
    expected: list[int] = []
    for i in ranked:
        if all(iou(boxes[j], boxes[i]) <= threshold for j in expected):
            expected.append(i)
    assert kept == expected


@pytest.mark.parametrize(
    "case",
    HELPERS["remove_small_regions"],
    ids=lambda case: f"{case['mask']}-{case['area_thresh']}-{case['mode']}",
)
def test_small_regions(case: dict[str, Any], arrays: Any) -> None:
    mask = arrays[case["mask"]].astype(bool)
    clean = {"holes": fill_holes, "islands": remove_islands}[case["mode"]]
    result, changed = clean(mask, case["area_thresh"])
    assert changed == case["changed"]
    assert result.sum() == case["area_after"]
    np.testing.assert_array_equal(result, arrays[case["result"]] if "result" in case else mask)


@given(small_masks, st.integers(0, 30))
def test_small_regions_only_ever_add_or_remove(mask: np.ndarray, least: int) -> None:
    filled, added = fill_holes(mask, least)
    assert (filled >= mask).all()
    assert added == bool((filled != mask).any())
    kept, removed = remove_islands(mask, least)
    assert (kept <= mask).all()
    assert kept.any() == mask.any()
    assert removed or (kept == mask).all()
    again, _ = remove_islands(kept, least)
    np.testing.assert_array_equal(again, kept)
