"""Masks at image size from low-res logits, only for the part of the image that a mask can reach.

Bilinear interpolation is linear along each axis: a mask is ``rows @ logits @ columns.T > 0`` with
two banded matrices (:meth:`~samdeploy.geometry.Transform.logits_to_image`). Where all logits that a
pixel depends on are negative it is outside, so a mask costs in proportion to its box.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from samdeploy.constants import MASK_THRESHOLD
from samdeploy.geometry import Transform
from samdeploy.masks.postprocess import mask_boxes
from samdeploy.masks.rle import Rle

Floats = NDArray[np.float32]
#: x1 y1 x2 y2, the last ones included, in cells of low-res logits.
CellBox = tuple[int, int, int, int]

#: Input pixels along a cell of low-res logits.
_CELL = 4

#: How much of the area of the squares that outlines pass may be on the wrong side, where a cell has
#: :data:`_FINE` pixels along a side or more; by measurement (``tools/stability_margin.py``).
_RIM_ERROR = 0.02
_FINE = 4

#: Outputs computed in one product. The matrices are banded: a long product would be mostly zeros.
_BLOCK = 128


@dataclass(frozen=True)
class Patch:
    """The part of the logits that a mask depends on: a copy of its ``logits``, whose first cell is
    ``cell`` (y, x), and the ``rows`` and ``columns`` (start, stop) of the image that it reaches."""

    logits: Floats
    cell: tuple[int, int]
    rows: tuple[int, int]
    columns: tuple[int, int]


class Upscaler:
    """Low-res logits of one transform to masks in the image frame."""

    def __init__(self, transform: Transform) -> None:
        rows, columns = transform.logits_to_image()
        self._size = transform.original_size
        self._rows, self._columns = _Axis(rows), _Axis(columns)
        self._cells = transform.low_res_size
        self._sides = [_square_sides(length) for length in transform.input_size]
        pixels = min(np.array(transform.original_size) / transform.input_size) * _CELL
        self._rim_error = _RIM_ERROR * max(1.0, _FINE / pixels)

    def boxes(self, logits: Floats) -> Floats:
        """Boxes ``[N, 4]`` of the masks of ``[N, s, s]`` logits in the image frame, without making
        the masks: from the largest logit of every row and column. A box may be too large, never too
        small: the largest values are interpolated as if they were neighbours, and a speck may fall
        between the pixels."""
        sides = [
            logits.max(axis=axis) @ matrix.T > MASK_THRESHOLD
            for axis, matrix in ((1, self._columns.matrix), (2, self._rows.matrix))
        ]
        ends = [(s.argmax(axis=1), s.shape[1] - 1 - s[:, ::-1].argmax(axis=1)) for s in sides]
        (x1, x2), (y1, y2) = ends
        boxes = np.stack([x1, y1, x2, y2], axis=1).astype(np.float32)
        boxes[~sides[0].any(axis=1)] = 0
        return boxes

    def inner_box(self, patch: Patch) -> Floats:
        """A box ``[4]`` that the box of the mask holds: of the pixels that read only squares of
        four positive logits; without any, no area."""
        positive = patch.logits > MASK_THRESHOLD
        squares = positive[1:, 1:] & positive[1:, :-1] & positive[:-1, 1:] & positive[:-1, :-1]
        if not (squares.any() and self._rows.dense and self._columns.dense):
            return np.zeros(4, np.float32)
        x1, y1, x2, y2 = mask_boxes(squares[None])[0].astype(int).tolist()
        y, x = patch.cell
        left, right = self._columns.starts[x + x1], self._columns.stops[x + x2] - 1
        top, bottom = self._rows.starts[y + y1], self._rows.stops[y + y2] - 1
        return np.array([left, top, right, bottom], np.float32)

    def cut(self, logits: Floats, box: CellBox) -> Patch:
        """The patch of logits ``[s, s]`` whose positive values are all in ``box``."""
        x1, y1, x2, y2 = box
        rows, columns = self._rows.outputs(y1, y2), self._columns.outputs(x1, x2)
        y, x = self._rows.cells(*rows), self._columns.cells(*columns)
        return Patch(logits[y, x].copy(), (y.start, x.start), rows, columns)

    def encode(
        self,
        patch: Patch,
        origin: tuple[int, int] = (0, 0),
        size: tuple[int, int] | None = None,
    ) -> Rle:
        """The mask as run lengths; ``origin`` (y, x) is where the transform's image lies in a
        larger one of ``size``."""
        corner = patch.rows[0] + origin[0], patch.columns[0] + origin[1]
        return Rle.encode_part(self.mask(patch), corner, size or self._size)

    def stability(self, logits: Floats, offset: float) -> float:
        """Stability score of one mask ``[s, s]`` at image size; see
        :func:`~samdeploy.masks.postprocess.stability_scores`."""
        x1, y1, x2, y2 = mask_boxes(logits[None] > MASK_THRESHOLD - offset)[0].astype(int).tolist()
        patch = self.cut(logits, (x1, y1, x2, y2))
        inner, outer = (
            np.count_nonzero(self.mask(patch, MASK_THRESHOLD + side)) for side in (offset, -offset)
        )
        return inner / outer if outer else float("nan")

    def estimate_stability(self, logits: Floats, offset: float) -> tuple[Floats, Floats]:
        """Estimate :meth:`stability` of ``[N, s, s]`` logits, and how far off that may be: ``[N]``
        each.

        An outline lies in squares of four neighbouring logits. Of each, the part inside is taken to
        be the positive part of its corners. The fewer of these squares there are for its area, the
        better a mask's score is known.
        """
        height, width = self._cells
        # The outermost logits go on to the border.
        part = np.pad(logits[:, :height, :width], ((0, 0), (1, 1), (1, 1)), "edge")
        inner, inner_rim = self._areas(part, MASK_THRESHOLD + offset)
        outer, outer_rim = self._areas(part, MASK_THRESHOLD - offset)
        with np.errstate(invalid="ignore", divide="ignore"):
            scores = np.asarray(inner / outer, np.float32)
            return scores, np.asarray(self._rim_error * (inner_rim + outer_rim) / outer, np.float32)

    def _areas(self, logits: Floats, threshold: float) -> tuple[Floats, Floats]:
        """Areas above ``threshold``, and of the squares that outlines pass, in cells: ``[N]``."""
        count, height, width = logits.shape
        corners = [
            (slice(None), slice(y, height - 1 + y), slice(x, width - 1 + x))
            for y in (0, 1)
            for x in (0, 1)
        ]
        above = (logits > threshold).view(np.uint8)
        inside = np.zeros((count, height - 1, width - 1), np.uint8)
        for corner in corners:
            inside += above[corner]
        rows, columns = self._sides
        whole = ((inside == len(corners)).astype(np.float32) @ columns) @ rows
        mask, y, x = np.nonzero((inside > 0) & (inside < len(corners)))
        values = np.stack([logits[corner][mask, y, x] for corner in corners]) - threshold
        share = np.maximum(values, 0).sum(axis=0) / np.abs(values).sum(axis=0)
        areas = rows[y] * columns[x]
        return (
            np.asarray(whole + np.bincount(mask, areas * share, count), np.float32),
            np.asarray(np.bincount(mask, areas, count), np.float32),
        )

    def mask(self, patch: Patch, threshold: float = MASK_THRESHOLD) -> NDArray[np.bool_]:
        """Where logits are above ``threshold`` in the rows and columns of the patch."""
        (top, bottom), (left, right) = patch.rows, patch.columns
        y, x = patch.cell
        stretched = np.empty((bottom - top, patch.logits.shape[1]), np.float32)
        for out, cells in self._rows.blocks(top, bottom):
            stretched[_moved(out, top)] = (
                self._rows.matrix[out, cells] @ patch.logits[_moved(cells, y)]
            )
        mask = np.empty((bottom - top, right - left), bool)
        for out, cells in self._columns.blocks(left, right):
            part = stretched[:, _moved(cells, x)] @ self._columns.matrix[out, cells].T
            np.greater(part, threshold, out=mask[:, _moved(out, left)])
        return mask


def _square_sides(length: int) -> Floats:
    """How much of an axis of ``length`` input pixels lies between the centres of neighbouring
    cells, before the first and behind the last one: in cells."""
    centres = np.arange(-(-length // _CELL)) * _CELL + _CELL / 2
    ends = np.concatenate([[0], centres, [length]]).clip(0, length)
    return np.asarray(np.diff(ends) / _CELL, np.float32)


class _Axis:
    """A banded matrix ``[n, s]``; output ``i`` reads the cells ``first[i]`` to ``last[i]``.

    The outputs from ``starts[c]`` to ``stops[c]`` read the cells ``c`` and ``c + 1`` alone; where
    the axis is ``dense``, there are such for every ``c``."""

    def __init__(self, matrix: Floats) -> None:
        self.matrix = matrix
        used = matrix != 0
        self._first = used.argmax(axis=1)
        self._last = used.shape[1] - 1 - used[:, ::-1].argmax(axis=1)
        pairs = np.arange(self._last.max())
        self.starts = np.searchsorted(self._first, pairs)
        self.stops = np.searchsorted(self._last, pairs + 1, "right")
        self.dense = bool((self.starts < self.stops).all())

    def outputs(self, first: int, last: int) -> tuple[int, int]:
        """Start and stop of the outputs that read any of the cells ``first`` to ``last``."""
        start = int(np.searchsorted(self._last, first))
        return start, int(np.searchsorted(self._first, last, "right"))

    def cells(self, start: int, stop: int) -> slice:
        """Inputs that the outputs from ``start`` to ``stop`` read."""
        if start == stop:  # a small image does not read every cell
            return slice(0, 0)
        return slice(int(self._first[start]), int(self._last[stop - 1]) + 1)

    def blocks(self, start: int, stop: int) -> Iterator[tuple[slice, slice]]:
        """Outputs, a few at a time, and the cells that they read."""
        for at in range(start, stop, _BLOCK):
            end = min(at + _BLOCK, stop)
            yield slice(at, end), self.cells(at, end)


def _moved(part: slice, by: int) -> slice:
    return slice(part.start - by, part.stop - by)
