"""The golden answer of a bundle: a click whose outcome is known, to prove a device with.

An app has no checkpoint to compare with. Where a browser's or a phone's driver computes wrong
numbers without an error, this shows it before a user does.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

#: Of the picture, in pixels.
WIDTH, HEIGHT = 400, 310
#: (x, y), the centre of the disc.
CLICK = (150.0, 140.0)
#: How far a device may be from the answer: of every predicted IoU, and the least IoU of the mask.
#: Twice as much as float16 differs; a wrong answer differs by far more.
MOST_IOU_ERROR, LEAST_MASK_IOU = 0.02, 0.98

_Side: TypeAlias = Annotated[int, Meta(ge=1, le=4096)]
_Number: TypeAlias = Annotated[float, Meta(ge=-1e6, le=1e6)]


class RunLengths(msgspec.Struct, frozen=True):
    """A mask in COCO's compressed form; ``size`` is (height, width)."""

    size: tuple[_Side, _Side]
    counts: Annotated[str, Meta(max_length=1 << 18, pattern=r"^[0-o]*\Z")]


class Golden(msgspec.Struct, frozen=True):
    """What the torch reference answers to one click on :func:`golden_picture`.

    ``point`` is (x, y) in pixels of the picture. ``iou_predictions`` are those of all outputs,
    ``mask`` is output 0 at the picture's size.
    """

    width: _Side
    height: _Side
    point: tuple[_Number, _Number]
    iou_predictions: Annotated[tuple[_Number, ...], Meta(min_length=1, max_length=64)]
    mask: RunLengths


def golden_picture() -> NDArray[np.uint8]:
    """RGB ``[310, 400, 3]``: a disc on a gradient, all in whole numbers (``docs/embedding.md``)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    behind = (40 + x // 4, 70 + y // 4, 150 - x // 8)
    disc = (np.full_like(x, 200), 60 + x // 8, np.full_like(x, 50))
    pixels = np.where(golden_disc()[..., None], np.stack(disc, -1), np.stack(behind, -1))
    return pixels.astype(np.uint8)


def golden_disc() -> NDArray[np.bool_]:
    """The disc of the picture, ``[310, 400]``."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.asarray((x - CLICK[0]) ** 2 + (y - CLICK[1]) ** 2 < 80**2)
