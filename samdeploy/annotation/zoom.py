"""Small objects, segmented from an enlarged part of the image.

A cell of SAM's masks is four pixels of its input, so an object of a few cells gets a coarse
outline. Cut out with its surroundings and encoded again, it fills half of the input.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from samdeploy.masks.masks import Masks
from samdeploy.masks.rle import Rle
from samdeploy.sam import SAM

#: Side of a part, in longer sides of the largest box in it: the model needs surroundings.
_PART = 2.0
#: Boxes share a part with one that is at most this many times larger...
_ALIKE = 2.0
#: ...if this share of their own longer side is around them.
_MARGIN = 0.25
#: Parts are enlarged four times at most: there is nothing more to see.
_MOST = 4
#: Larger parts, relative to the longer side of the image, are not worth another encoder run.
_LARGEST = 0.75


@dataclass(frozen=True)
class Part:
    """``box`` (x1, y1, x2, y2) of the image in whole pixels, and which ``boxes`` it is for."""

    box: tuple[int, int, int, int]
    boxes: NDArray[np.intp]


def predict_zoomed(sam: SAM, image: NDArray[np.uint8], boxes: NDArray[np.float32]) -> Masks:
    """One mask for each of ``boxes`` ``[N, 4]`` (x1, y1, x2, y2) of an RGB image ``[H, W, 3]``, as
    :meth:`SAM.predict` with ``bboxes``, but small objects from enlarged parts of the image."""
    size = (image.shape[0], image.shape[1])
    rles: dict[int, Rle] = {}
    scores = np.zeros(len(boxes), np.float32)
    for part in find_parts(boxes, size, sam.image_size // _MOST):
        x1, y1, x2, y2 = part.box
        pixels = np.ascontiguousarray(image[y1:y2, x1:x2])
        inside = boxes[part.boxes] - np.array([x1, y1, x1, y1], np.float32)
        masks = sam.predict(pixels, bboxes=inside, channel_order="rgb")
        scores[part.boxes] = masks.scores
        for index, one in zip(part.boxes, masks, strict=True):
            rles[int(index)] = Rle.encode_part(one.data[0], (y1, x1), size)
    return Masks.from_rles([rles[i] for i in range(len(boxes))], size, scores, image=image)


def find_parts(boxes: NDArray[np.float32], size: tuple[int, int], smallest: int) -> Iterator[Part]:
    """Parts of an image of ``size`` (height, width) in which all ``boxes`` are, each in one: the
    whole image for large ones, and squares of ``smallest`` pixels or more.

    From the largest box to the smallest: each that is in no part yet gets one around it, with those
    of the smaller ones that are well inside.
    """
    height, width = size
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
    parts = np.maximum(_PART * sides, smallest)
    large = parts > _LARGEST * max(size)
    if large.any():
        yield Part((0, 0, width, height), np.flatnonzero(large))
    waiting = ~large
    margin = _MARGIN * sides[:, None]
    # Nothing is missing around a box where the image ends.
    around = np.clip(boxes + margin * [-1, -1, 1, 1], 0, [width, height, width, height])
    for index in np.argsort(-sides, kind="stable"):
        if not waiting[index]:
            continue
        part = _around(boxes[index], float(parts[index]), size)
        inside = (around[:, :2] >= part[:2]).all(axis=1) & (around[:, 2:] <= part[2:]).all(axis=1)
        alike = _ALIKE * sides >= sides[index]
        members = waiting & inside & alike
        members[index] = True
        yield Part(part, np.flatnonzero(members))
        waiting &= ~members


def _around(
    box: NDArray[np.float32], side: float, size: tuple[int, int]
) -> tuple[int, int, int, int]:
    """A square around the middle of ``box``, moved into the image, cut where that is narrower."""
    height, width = size
    starts, ends = [], []
    for low, high, most in ((box[0], box[2], width), (box[1], box[3], height)):
        length = min(int(np.ceil(side)), most)
        start = round((float(low) + float(high)) / 2 - length / 2)
        start = min(max(start, 0), most - length)
        starts.append(start)
        ends.append(start + length)
    return starts[0], starts[1], ends[0], ends[1]
