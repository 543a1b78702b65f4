"""YOLO label files: masks as lines, and lines as boxes.

A line is ``class x1 y1 x2 y2 ...`` with coordinates divided by the image's width and height. It is
one instance: the format knows neither holes nor parts, and a part on a line of its own becomes an
object of its own in training. So a mask is one ring: holes are joined to their outline, and parts
to each other, by cuts of no width.

Trainers truncate coordinates to whole pixels and fill the outline inclusively. Corners are moved a
little into the mask for that reason: at the image's own size the filled ring is then the mask,
pixel for pixel (of several parts, the mask and the cuts between them, one pixel wide).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from samdeploy.detections import MOST_CLASSES, Detections
from samdeploy.errors import InputError
from samdeploy.masks.polygons import Ring, mask_to_polygons
from samdeploy.text import shown

#: Pixels; far more than the rounding of six decimals, far less than anyone can see.
_INSET = 0.05
_CHUNK = 256


def mask_to_yolo_line(mask: NDArray[np.bool_], class_id: int, epsilon: float = 0.0) -> str | None:
    """The line of a mask ``[H, W]``, or ``None`` for an empty one.

    ``epsilon`` is the largest distance in pixels that simplification may move the outline. Parts
    that would vanish by it are left out, unless all would: a mask never loses its line to it.
    """
    parts = mask_to_polygons(mask, epsilon, _INSET) or mask_to_polygons(mask, 0.0, _INSET)
    if not parts:
        return None
    height, width = mask.shape
    values = join_rings([part.bridged() for part in parts]) / (width, height)
    return f"{class_id} " + " ".join(f"{value:.6f}" for value in values.ravel())


def join_rings(rings: Sequence[Ring]) -> Ring:
    """One ring out of several, each joined to those before it by the shortest cut that starts at a
    corner."""
    joined = rings[0]
    for ring in rings[1:]:
        length, i, hit, j = _nearest(ring, joined)
        other_length, other_j, other_hit, other_i = _nearest(joined, ring)
        if length <= other_length:  # from a corner of the new ring to a side of the old one
            here, turned = hit[None], np.roll(ring, -j, axis=0)
        else:
            i, here = other_i, joined[other_i : other_i + 1]
            turned = np.concatenate([other_hit[None], np.roll(ring, -other_j - 1, axis=0)])
        joined = np.concatenate([joined[: i + 1], here, turned, turned[:1], here, joined[i + 1 :]])
    return joined


def _nearest(corners: Ring, ring: Ring) -> tuple[float, int, NDArray[np.float64], int]:
    """The shortest way from one of ``corners`` to a side of ``ring``: its squared length, the side
    (the index of its first corner), the point hit, and the index of the corner."""
    along = np.roll(ring, -1, axis=0) - ring
    squared = np.maximum((along**2).sum(axis=1), np.finfo(np.float64).tiny)
    best = (np.inf, 0, ring[0], 0)
    for start in range(0, len(corners), _CHUNK):  # bounds memory for rings of many corners
        some = corners[start : start + _CHUNK, None]
        share = np.clip(((some - ring) * along).sum(axis=2) / squared, 0, 1)
        hits = ring + share[..., None] * along
        lengths = ((some - hits) ** 2).sum(axis=2)
        row, side = divmod(int(lengths.argmin()), len(ring))
        if lengths[row, side] < best[0]:
            best = (float(lengths[row, side]), side, hits[row, side], start + row)
    return best


class Layout(Enum):
    """Meaning of the values after the class in a row of seven values or more; in shorter ones it is
    a box, perhaps with its confidence."""

    OUTLINE = "outline"
    SCORED_OUTLINE = "outline and confidence"
    BOX = "box and more"


def read_yolo_boxes(
    text: str, size: tuple[int, int], name: str, layout: Layout = Layout.OUTLINE
) -> Detections:
    """Boxes of a label file's ``text``, in pixels of an image of ``size`` (height, width).

    A line holds a box (``class cx cy w h``, perhaps followed by a confidence) or what ``layout``
    says; the box of an outline is taken. Scores are 1 where there is no confidence. ``name`` is the
    file's, for errors.

    Raises:
        InputError: a line is neither.
    """
    boxes, scores, classes = [], [], []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            index, *values = (float(word) for word in line.split())
            box, score = _read_row(np.array(values), layout)
            if not (0 <= index < MOST_CLASSES and index == int(index)):
                raise ValueError
        except ValueError as error:
            raise InputError(
                f"'{name}' line {number} is {shown(line)}; expected a class below {MOST_CLASSES}, "
                "centre x, centre y, width and height (or an outline), all but the class from 0 to "
                "1."
            ) from error
        boxes.append(box)
        scores.append(score)
        classes.append(int(index))
    height, width = size
    pixels = np.array(boxes, np.float64).reshape(-1, 4) * (width, height, width, height)
    return Detections(
        pixels.astype(np.float32), np.array(scores, np.float32), np.array(classes, np.int64)
    )


def _read_row(values: NDArray[np.float64], layout: Layout) -> tuple[NDArray[np.float64], float]:
    """Box (x1, y1, x2, y2 in shares) and score of the values after a class.

    Raises:
        ValueError: they are neither a box nor what ``layout`` says.
    """
    count, score = len(values), 1.0
    if count > 5 and layout is not Layout.BOX:
        if layout is Layout.SCORED_OUTLINE:
            values, score = values[:-1], float(values[-1])
        if len(values) % 2 or not inside_image(values) or not 0 <= score <= 1:
            raise ValueError
        points = values.reshape(-1, 2)
        return np.concatenate([points.min(axis=0), points.max(axis=0)]), score
    if count < 4 or not inside_image(values[:4]):
        raise ValueError
    # A whole number above 1 is the id of a track; that of rows of six values follows the score.
    if count == 5 or (count == 6 and values[5] == np.floor(values[5])):
        score = 1.0 if values[4] > 1 and values[4] == np.floor(values[4]) else float(values[4])
    if not 0 <= score <= 1.01:
        raise ValueError
    centre, half = values[:2], values[2:4] / 2
    return np.concatenate([centre - half, centre + half]), score


def inside_image(values: NDArray[np.float64]) -> bool:
    """Whether all are shares of the image; Ultralytics allows the same hundredth of slack."""
    return bool(((values >= -0.01) & (values <= 1.01)).all())
