"""The layout of rows of YOLO label files, where their length alone does not tell.

``class cx cy w h`` may be followed by a confidence, a track id, or keypoints (``x y`` or
``x y visible`` each); an outline is ``class x1 y1 x2 y2 ...``. A row of ten numbers can be an
outline of five points or a box with three keypoints. Rows of one data set tell more than one row
does: outlines differ in length, rows with keypoints do not, and these lie in their box.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samdeploy.annotation.classes import read_yaml
from samdeploy.errors import InputError
from samdeploy.masks.yolo_labels import Layout, inside_image

Row = NDArray[np.float64]

#: Of whole bodies with hands and face, the most that a data set in use has.
_MOST_KEYPOINTS = 133
#: Rows that are looked at; each of the wrong kind is one more that would have to look right.
_ENOUGH = 1000
#: Keypoints of so many would cross the lines between them.
_MANY_POINTS = 10
#: Shares of the image, to which labels are rounded.
_PARALLEL = 0.002
#: Keypoints may lie this far outside their box, in its sides.
_SLACK = 0.1


class Fit(IntEnum):
    """How well a layout fits all rows."""

    NO = 0
    MAYBE = 1
    SURE = 2


def find_layout(rows: Iterable[tuple[str, Row]], beside: Sequence[Path]) -> Layout:
    """The layout of a data set, from its ``rows``: where each is, and what follows its class.

    ``beside`` are files in which ``kpt_shape`` is looked for.

    Raises:
        InputError: two layouts fit.
    """
    lengths: set[int] = set()
    kept: list[Row] = []
    first = ""
    for where, row in rows:
        first = first or where
        lengths.add(len(row))
        if len(lengths) == 1 and len(kept) < _ENOUGH:
            kept.append(row)
    longer = {length for length in lengths if length > 5}
    if not longer:
        return Layout.OUTLINE
    keypoints = _read_keypoints(beside)
    if keypoints:
        return Layout.BOX
    outline = Layout.SCORED_OUTLINE if all(n % 2 for n in longer) else Layout.OUTLINE
    if len(lengths) > 1:  # outlines, perhaps with boxes between them
        return outline
    values = np.array(kept)
    ways = {outline: _as_outline(values), Layout.BOX: _as_box(values, keypoints is None)}
    fitting = [way for way, fit in ways.items() if fit]
    sure = [way for way, fit in ways.items() if fit is Fit.SURE]
    best = sure or fitting
    if len(best) > 1:
        count = values.shape[1]
        raise InputError(
            f"{first} has {count} numbers after its class, which may be an outline of {count // 2} "
            "points or a box with keypoints or a track id; put a data.yaml beside the labels, with "
            "kpt_shape for keypoints and without for outlines, or remove what follows the boxes."
        )
    return best[0] if best else outline


def _read_keypoints(beside: Sequence[Path]) -> bool | None:
    """Whether a file says that there are keypoints; ``None`` where no file says anything."""
    path = next((path for path in beside if path.is_file()), None)
    if path is None:
        return None
    content: Any = read_yaml(path)
    return isinstance(content, dict) and bool(content.get("kpt_shape"))


def _as_outline(values: NDArray[np.float64]) -> Fit:
    """Rows ``[N, 2 P]`` are points in the image on lines that do not cross, perhaps with a
    confidence. Nothing else is, with many points, or where all are parallelograms."""
    if values.shape[1] % 2:
        if not _are_shares(values[:, -1]):
            return Fit.NO
        values = values[:, :-1]
    points = values.reshape(len(values), -1, 2)
    if not inside_image(values) or any(_crosses(ring) for ring in points):
        return Fit.NO
    if max(len(np.unique(ring, axis=0)) for ring in points) >= _MANY_POINTS:
        return Fit.SURE
    first = points[:, :4]
    turned = first.shape[1] == points.shape[1] == 4 and bool(
        (np.abs(first[:, 0] + first[:, 2] - first[:, 1] - first[:, 3]) < _PARALLEL).all()
    )
    return Fit.SURE if turned else Fit.MAYBE


def _as_box(values: NDArray[np.float64], keypoints: bool) -> Fit:
    """Rows begin with a box in the image, and what follows is a confidence with a track id, or
    ``keypoints`` in the box."""
    if not _are_boxes(values):
        return Fit.NO
    track = values.shape[1] == 6 and _are_shares(values[:, 4]) and _are_ids(values[:, 5])
    fits = [_as_keypoints(values, each, extra) for each in (2, 3) for extra in (0, 1, 2)]
    return max([Fit.MAYBE if track else Fit.NO, *(fits if keypoints else [])])


def _crosses(ring: NDArray[np.float64]) -> bool:
    """Whether two sides of a ring ``[P, 2]`` cross inside both."""
    start, end = ring, np.roll(ring, -1, axis=0)
    along = end - start

    def side(points: NDArray[np.float64]) -> NDArray[np.float64]:
        """On which side of each line each point is, ``[P, P]``."""
        to = points[None] - start[:, None]
        return np.sign(along[:, None, 0] * to[..., 1] - along[:, None, 1] * to[..., 0])

    parted = side(start) * side(end) < 0
    return bool((parted & parted.T).any())


def _as_keypoints(values: NDArray[np.float64], each: int, extra: int) -> Fit:
    """Take what follows the boxes for keypoints of ``each`` numbers, and ``extra`` ones: a
    confidence and a track id. Nothing else is, where two or more have 0, 1 or 2 for hidden and
    visible."""
    count, rest = divmod(values.shape[1] - 4 - extra, each)
    if rest or not 1 <= count <= _MOST_KEYPOINTS:
        return Fit.NO
    points = values[:, 4 : 4 + count * each].reshape(len(values), count, each)
    after = values[:, 4 + count * each :]
    seen = points[..., 2:]
    marked = each == 3 and bool(np.isin(seen, (0, 1, 2)).all())
    if not (
        _are_in_boxes(points[..., :2], values)
        and (marked or _are_shares(seen))
        and _are_shares(after[:, :1])
        and _are_ids(after[:, 1:])
    ):
        return Fit.NO
    return Fit.SURE if marked and count > 1 and not extra else Fit.MAYBE


def _are_boxes(values: NDArray[np.float64]) -> bool:
    centre, half = values[:, :2], values[:, 2:4] / 2
    corners = np.concatenate([centre - half, centre + half], axis=1)
    return bool((half > 0).all()) and inside_image(corners)


def _are_in_boxes(points: NDArray[np.float64], values: NDArray[np.float64]) -> bool:
    """Those at (0, 0) are not labelled."""
    centre, sides = values[:, None, :2], values[:, None, 2:4]
    inside = (np.abs(points - centre) <= sides * (0.5 + _SLACK)).all(axis=2)
    return bool((inside | (points == 0).all(axis=2)).all())


def _are_shares(values: NDArray[np.float64]) -> bool:
    return bool(((values >= 0) & (values <= 1)).all())


def _are_ids(values: NDArray[np.float64]) -> bool:
    return bool(((values >= 0) & (values == np.floor(values))).all())
