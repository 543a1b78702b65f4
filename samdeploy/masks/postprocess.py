"""Masks to scores and boxes, and the filters of whole-image mode."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from samdeploy.constants import MASK_THRESHOLD

Floats = NDArray[np.float32]


def stability_scores(
    logits: Floats, offset: float = 1.0, threshold: float = MASK_THRESHOLD
) -> NDArray[np.float32]:
    """IoU of each mask of ``[N, H, W]`` logits at ``threshold`` plus and minus ``offset``: ``[N]``.

    A mask whose outline hardly moves when the threshold does is a stable one. Without any pixel
    above the lower threshold the score is not a number, as in the reference implementation.
    """
    # Mask by mask: counting along an axis is several times slower.
    inner = np.array([np.count_nonzero(mask > threshold + offset) for mask in logits], np.float64)
    outer = np.array([np.count_nonzero(mask > threshold - offset) for mask in logits], np.float64)
    with np.errstate(invalid="ignore"):
        return np.asarray(inner / outer, np.float32)


def mask_boxes(masks: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Boxes ``[N, 4]`` of ``[N, H, W]``: first and last set column and row (inclusive pixel
    indices); zeros for an empty mask."""
    count, height, width = masks.shape
    columns: NDArray[np.bool_] = np.asarray(masks.any(axis=1))
    rows: NDArray[np.bool_] = np.asarray(masks.any(axis=2))
    boxes = np.stack(
        [
            columns.argmax(axis=1),
            rows.argmax(axis=1),
            width - 1 - columns[:, ::-1].argmax(axis=1),
            height - 1 - rows[:, ::-1].argmax(axis=1),
        ],
        axis=1,
    )
    boxes[~np.asarray(columns.any(axis=1))] = 0
    return boxes.astype(np.float32).reshape(count, 4)


def nms(boxes: Floats, scores: Floats, iou_threshold: float) -> NDArray[np.intp]:
    """Greedy non-maximum suppression; the kept indices, best first.

    Ties keep their order (the sort is stable), areas are widths times heights without a pixel
    added, and a box goes when its IoU with a better one is above the threshold. Boxes without
    area have an undefined IoU and stay.
    """
    order = np.argsort(-scores, kind="stable")
    ordered = boxes[order]
    alive = np.ones(len(order), bool)
    for i in range(len(order)):
        if alive[i]:
            alive[i + 1 :] &= ~(box_iou(ordered[i], ordered[i + 1 :]) > iou_threshold)
    return order[alive]


def box_iou(box: Floats, boxes: Floats) -> NDArray[np.float64]:
    """IoU ``[N]`` of a box ``[4]`` with ``[N, 4]``, x1 y1 x2 y2, areas as in :func:`nms`; not a
    number where both have no area."""
    box, boxes = box.astype(np.float32), boxes.astype(np.float32)
    area = (box[2] - box[0]) * (box[3] - box[1])
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    top_left = np.maximum(box[:2], boxes[:, :2])
    bottom_right = np.minimum(box[2:], boxes[:, 2:])
    overlap = np.clip(bottom_right - top_left, 0, None).prod(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = overlap / (area + areas - overlap)
    # In double, as in torchvision: float32's 0.1 is above 0.1.
    return np.asarray(iou, np.float64)


def least_iou(inner: Floats, outer: Floats, boxes: Floats) -> NDArray[np.float64]:
    """Lower bounds ``[N]`` of the IoU with ``boxes`` ``[N, 4]`` of a box that holds ``inner`` and
    lies in ``outer``, ``[4]`` each; areas as in :func:`nms`."""
    inner, outer = inner.astype(np.float64), outer.astype(np.float64)
    sides = np.minimum(inner[2:], boxes[:, 2:]) - np.maximum(inner[:2], boxes[:, :2])
    overlap = np.clip(sides, 0, None).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64).prod(axis=1)
    union = (outer[2:] - outer[:2]).prod() + areas - overlap
    return np.asarray(overlap / np.maximum(union, 1), np.float64)


def pairwise_iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> NDArray[np.float64]:
    """IoU ``[N, M]`` of masks ``[N, H, W]`` with masks ``[M, H, W]``; 0 where both are empty."""
    flat_a, flat_b = (m.reshape(len(m), m.shape[1] * m.shape[2]).astype(np.float32) for m in (a, b))
    shared = flat_a @ flat_b.T
    union = flat_a.sum(1)[:, None] + flat_b.sum(1) - shared
    return np.asarray(shared / np.maximum(union, 1), np.float64)


def near_crop_edge(
    boxes: Floats,
    crop: tuple[int, int, int, int],
    image_size: tuple[int, int],
    margin: float = 20.0,
) -> NDArray[np.bool_]:
    """Boxes ``[N, 4]`` in image pixels that touch an edge of the crop but not of the image.

    ``crop`` is x1 y1 x2 y2, ``image_size`` (height, width), ``margin`` in pixels, inclusive. Such a
    mask is probably cut off; another crop sees it whole.
    """
    height, width = image_size
    to_crop = np.abs(boxes - np.array(crop, np.float32)) <= margin
    to_image = np.abs(boxes - np.array([0, 0, width, height], np.float32)) <= margin
    return np.asarray((to_crop & ~to_image).any(axis=1))


def fill_holes(mask: NDArray[np.bool_], min_area: float) -> tuple[NDArray[np.bool_], bool]:
    """``mask`` with background regions below ``min_area`` pixels filled, and whether any was."""
    labels, areas = _regions(~mask)
    small = np.flatnonzero(areas < min_area)
    if not small.size:
        return mask, False
    return mask | np.isin(labels, small + 1), True


def remove_islands(mask: NDArray[np.bool_], min_area: float) -> tuple[NDArray[np.bool_], bool]:
    """``mask`` without its regions below ``min_area`` pixels, and whether any was removed.

    When all are small, the largest stays.
    """
    labels, areas = _regions(mask)
    small = areas < min_area
    if not small.any():
        return mask, False
    keep = np.flatnonzero(~small)
    if not keep.size:
        keep = np.array([areas.argmax()])
    return np.isin(labels, keep + 1), True


def _regions(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """8-connected regions: label map (0 outside) and areas, region ``i + 1`` at index ``i``."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return np.asarray(labels, np.int32), np.asarray(stats[1:, cv2.CC_STAT_AREA], np.int32)
