"""How surely a mask of one frame is the object of an earlier one.

Everything here is in cells of the low-res logits, a quarter of the encoder input: small, and alike
for images of every size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from samdeploy.constants import MASK_THRESHOLD
from samdeploy.geometry import Transform

Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]
Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Look:
    """An object in one frame: ``mask`` bool ``[h, w]`` with at least one cell, its ``area`` in
    cells, its ``centre`` (x, y), and its mean ``colour`` ``[3]``, RGB of 0 to 255."""

    mask: Bools
    area: int
    centre: Vector
    colour: Vector


def shrunk(pixels: NDArray[np.uint8], transform: Transform) -> NDArray[np.uint8]:
    """A frame RGB uint8 ``[H, W, 3]`` with one pixel for each cell that is not padding."""
    height, width = transform.low_res_size
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def look(logits: Floats, small: NDArray[np.uint8]) -> Look | None:
    """What logits ``[s, s]`` show in a :func:`shrunk` frame; ``None`` where they show nothing."""
    height, width = small.shape[:2]
    mask = logits[:height, :width] > MASK_THRESHOLD
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return None
    centre = np.array([columns.mean(), rows.mean()]) + 0.5
    return Look(mask, len(rows), centre, np.asarray(small[rows, columns].mean(axis=0), np.float64))


def score(
    now: Look, expected: Bools, colour: Vector, predicted_iou: float, tolerance: float
) -> float:
    """How surely ``now`` is the object that was expected as the mask ``expected`` ``[h, w]`` and of
    ``colour`` ``[3]``, 0 to 1.

    It is the geometric mean of three, so that each of them alone can refuse: the IoU of the masks;
    the likeness of the mean colours, ``exp(-(distance / tolerance)²)``; and the model's own
    prediction of the mask's quality, cut to 0 to 1. A jump in area or place lowers the first.
    """
    shared = int(np.count_nonzero(now.mask & expected))
    agreement = shared / int(np.count_nonzero(now.mask | expected))
    distance = float(np.linalg.norm(now.colour - colour))
    likeness = math.exp(-((distance / tolerance) ** 2))
    quality = min(1.0, max(0.0, predicted_iou))
    return float(np.cbrt(agreement * likeness * quality))
