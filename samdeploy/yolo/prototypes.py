"""Mask prototypes and coefficients to masks at image size.

A YOLO segmenter answers once per image with ``M`` prototype maps at a quarter of the input; the
mask of a detection is their sum, weighted with its coefficients, above 0 and inside its box.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from samdeploy.masks.rle import Rle
from samdeploy.yolo.letterbox import Letterbox

Floats = NDArray[np.float32]


def mask_rles(
    prototypes: Floats, coefficients: Floats, boxes: Floats, letterbox: Letterbox
) -> list[Rle]:
    """The mask of each detection, run-length encoded so that no more than one is held in full.

    Args:
        prototypes: ``[M, h, w]``.
        coefficients: ``[N, M]``.
        boxes: ``[N, 4]`` x1 y1 x2 y2 in image pixels.
    """
    cut = _Cut(letterbox, prototypes.shape[1:])
    flat = np.ascontiguousarray(prototypes.reshape(len(prototypes), -1))
    logits = (np.ascontiguousarray(coefficients) @ flat).reshape(-1, *prototypes.shape[1:])
    return [Rle.encode(_mask(cut(one), box)) for one, box in zip(logits, boxes, strict=True)]


class _Cut:
    """Maps in the prototypes' frame to the image's, bilinear.

    The padding must be cut off at whole pixels, so maps are first enlarged as far as that needs
    (not at all, twice or four times) and then brought to the image's size in one step.
    """

    def __init__(self, letterbox: Letterbox, size: tuple[int, ...]) -> None:
        ratio = round(letterbox.input_size[0] / size[0])
        height, width = letterbox.resized
        edges = letterbox.top, letterbox.left, letterbox.top + height, letterbox.left + width
        enlarge = next(
            factor
            for factor in (*(2**k for k in range(ratio.bit_length())), ratio)
            if all(edge * factor % ratio == 0 for edge in edges)
        )
        top, left, bottom, right = (edge * enlarge // ratio for edge in edges)
        self._rows, self._columns = slice(top, bottom), slice(left, right)
        self._enlarged = size[1] * enlarge, size[0] * enlarge
        self._size = letterbox.original_size[1], letterbox.original_size[0]

    def __call__(self, logits: Floats) -> Floats:
        if logits.shape[::-1] != self._enlarged:
            logits = _resized(logits, self._enlarged)
        return _resized(np.ascontiguousarray(logits[self._rows, self._columns]), self._size)


def _resized(values: Floats, size: tuple[int, int]) -> Floats:
    """``size`` is (width, height), as OpenCV has it."""
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_LINEAR), np.float32)


def _mask(logits: Floats, box: Floats) -> NDArray[np.bool_]:
    """Where ``logits`` are above 0 inside ``box``: pixel ``i`` is inside for ``x1 <= i < x2``."""
    x1, y1, x2, y2 = np.ceil(box).astype(int)
    mask = np.zeros(logits.shape, bool)
    np.greater(logits[y1:y2, x1:x2], 0, out=mask[y1:y2, x1:x2])
    return mask
