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

import numpy as np
from numpy.typing import NDArray

from samdeploy.detections import Detections
from samdeploy.errors import InputError
from samdeploy.polygons import Ring, mask_to_polygons
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


def read_yolo_boxes(text: str, size: tuple[int, int], name: str) -> Detections:
    """Boxes of a label file's ``text``, in pixels of an image of ``size`` (height, width).

    A line holds a box (``class cx cy w h``, perhaps followed by a confidence) or an outline, whose
    box is taken. Scores are 1 where there is no confidence. ``name`` is the file's, for errors.

    Raises:
        InputError: a line is neither.
    """
    boxes, scores, classes = [], [], []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            values = np.array(line.split(), np.float64)
        except ValueError:
            values = np.zeros(0)
        outline = len(values) >= 7 and len(values) % 2 == 1
        if not (outline or len(values) in (5, 6)) or not _plausible(values):
            raise InputError(
                f"'{name}' line {number} is {shown(line)}; expected class, centre x, centre y, "
                "width and height (or an outline), all but the class from 0 to 1."
            )
        if outline:
            points = values[1:].reshape(-1, 2)
            box = np.concatenate([points.min(axis=0), points.max(axis=0)])
        else:
            centre, half = values[1:3], values[3:5] / 2
            box = np.concatenate([centre - half, centre + half])
        boxes.append(box)
        scores.append(values[5] if len(values) == 6 else 1.0)
        classes.append(int(values[0]))
    height, width = size
    pixels = np.array(boxes, np.float64).reshape(-1, 4) * (width, height, width, height)
    return Detections(
        pixels.astype(np.float32), np.array(scores, np.float32), np.array(classes, np.int64)
    )


def _plausible(values: NDArray[np.float64]) -> bool:
    """A whole class id, and shares of the image; Ultralytics allows the same hundredth of slack."""
    whole = values[0] >= 0 and values[0] == int(values[0]) if np.isfinite(values[0]) else False
    rest = values[1:]
    return bool(whole and ((rest >= -0.01) & (rest <= 1.01)).all())
