"""FastSAM's prompts: which of the masks of a whole image are meant.

FastSAM (arXiv:2306.12156) segments everything first and lets prompts select from that. Text
prompts, which need a language model, are not among these.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from samdeploy.errors import InputError
from samdeploy.masks.masks import Masks
from samdeploy.prompts import Prompt, box_and_points


def select_masks(masks: Masks, prompts: Sequence[Prompt]) -> Masks:
    """The masks that each prompt means, prompt by prompt; ``prompt_index`` says whose each is.

    * Points choose every mask that holds one of the foreground points and none of the background
      points; background points alone choose every mask that holds none of them.
    * A box chooses the mask whose IoU with the filled box is highest. With points as well, it
      chooses among the masks that the points chose.

    A prompt may choose nothing.

    Raises:
        InputError: a coordinate is outside the image, or a prompt has a mask.
    """
    check_selection(prompts, masks.orig_shape)
    chosen = [_select(masks, prompt) for prompt in prompts]
    counts = [len(indices) for indices in chosen]
    picked = masks[np.concatenate([np.zeros(0, np.intp), *chosen])]
    picked.prompt_index = np.repeat(np.arange(len(prompts)), counts)
    return picked


def check_selection(prompts: Sequence[Prompt], size: tuple[int, int]) -> None:
    """Raise what :func:`select_masks` would for an image of ``size`` (height, width)."""
    for prompt in prompts:
        if prompt.mask is not None:
            raise InputError("a prompt with a mask; FastSAM takes points and boxes.")
        box_and_points(prompt, size)


def _select(masks: Masks, prompt: Prompt) -> NDArray[np.intp]:
    box, points, foreground = box_and_points(prompt, masks.orig_shape)
    fitting = np.ones(len(masks), bool)
    if len(points):
        holds = _holds(masks, points)
        fitting &= ~np.asarray(holds[:, ~foreground].any(axis=1))
        if foreground.any():
            fitting &= np.asarray(holds[:, foreground].any(axis=1))
    indices = np.flatnonzero(fitting)
    if box is None or not len(indices):
        return indices
    return indices[[int(_iou_with_box(masks, indices, box).argmax())]]


def _holds(masks: Masks, points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """``[N, P]``: whether each mask holds each point (x, y); a point on the far edge counts as in
    the last pixel."""
    height, width = masks.orig_shape
    columns = np.minimum(points[:, 0].astype(int), width - 1)
    rows = np.minimum(points[:, 1].astype(int), height - 1)
    return np.array([mask[rows, columns] for mask in masks.iter_data()]).reshape(-1, len(points))


def _iou_with_box(
    masks: Masks, indices: NDArray[np.intp], box: NDArray[np.float64]
) -> NDArray[np.float64]:
    """IoU of masks with all pixels of a box, whose sides are cut to whole pixels."""
    x1, y1, x2, y2 = box.astype(int)
    parts = (mask[y1:y2, x1:x2] for mask in masks[indices].iter_data())
    inside = np.array([np.count_nonzero(part) for part in parts])
    union = (x2 - x1) * (y2 - y1) + masks.areas[indices] - inside
    return np.asarray(inside / np.maximum(union, 1))
