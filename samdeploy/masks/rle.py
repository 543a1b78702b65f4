"""Run-length encoded masks in the COCO format.

Runs go down the columns and start with a run of zeros, of length 0 when the first pixel is set.
The compressed form writes each count, or from the third on its difference to the count two
before, as little-endian groups of five bits (format: the COCO API's mask definition).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from samdeploy.errors import InputError

#: Of a number in the compressed form, and of a count, which is a sum of such numbers; counts are
#: 64-bit integers.
_MOST_BITS, _MOST = 60, 2**62
_TOO_LARGE = "RLE counts hold too large a number; expected COCO's compressed form."


@dataclass(frozen=True)
class Rle:
    """``counts`` of alternating runs over a mask of ``size`` (height, width)."""

    size: tuple[int, int]
    counts: NDArray[np.int64]

    @classmethod
    def encode(cls, mask: NDArray[np.bool_]) -> Rle:
        """Encode a mask ``[height, width]``."""
        height, width = mask.shape
        pixels = np.asarray(mask, bool).view(np.uint8)
        # OpenCV transposes in blocks, several times faster than a strided copy.
        flat = cv2.transpose(pixels).ravel() if pixels.size else pixels.ravel()
        changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
        start = [0, 0] if flat.size and flat[0] else [0]
        bounds = np.concatenate([start, changes, [flat.size]])
        return cls((height, width), np.diff(bounds))

    @classmethod
    def encode_part(
        cls, part: NDArray[np.bool_], corner: tuple[int, int], size: tuple[int, int]
    ) -> Rle:
        """Encode the mask of ``size`` (height, width) that is ``part`` ``[h, w]`` with its top left
        pixel at ``corner`` (y, x), and empty elsewhere."""
        height, width = size
        # Columns become rows with an empty pixel at both ends, so that each run starts and ends.
        columns = np.zeros((part.shape[1], part.shape[0] + 2), np.uint8)
        columns[:, 1:-1] = part.view(np.uint8).T
        column, row = np.nonzero(columns[:, 1:] != columns[:, :-1])
        bounds = (column + corner[1]) * height + row + corner[0]
        starts, ends = bounds[::2], bounds[1::2]
        # A run to the foot of a column goes on at the head of the next.
        apart = ends[:-1] != starts[1:]
        always = np.ones(min(1, len(starts)), bool)
        starts = starts[np.concatenate([always, apart])]
        ends = ends[np.concatenate([apart, always])]
        bounds = np.stack([starts, ends], axis=1).ravel()
        if not bounds.size or bounds[-1] != height * width:
            bounds = np.append(bounds, height * width)
        return cls(size, np.diff(bounds, prepend=0))

    def decode(self) -> NDArray[np.bool_]:
        """The mask, bool ``[height, width]``."""
        values = np.arange(len(self.counts)) % 2 == 1
        flat = np.repeat(values, self.counts)
        return np.ascontiguousarray(flat.reshape(self.size, order="F"))

    @property
    def area(self) -> int:
        """Number of set pixels."""
        return int(self.counts[1::2].sum())

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x1 y1 x2 y2: first and last set column and row (inclusive); zeros for an empty mask."""
        height = self.size[0]
        ends = np.cumsum(self.counts)[1::2]
        starts = ends - self.counts[1::2]
        starts, last = starts[starts < ends], ends[starts < ends] - 1
        if not len(starts):
            return 0, 0, 0, 0
        if (starts // height != last // height).any():  # a run around the end of a column
            top, bottom = 0, height - 1
        else:
            top, bottom = int((starts % height).min()), int((last % height).max())
        return int(starts[0] // height), top, int(last[-1] // height), bottom

    def to_coco(self) -> dict[str, object]:
        """``{"size": [height, width], "counts": str}``, the compressed COCO form."""
        return {"size": list(self.size), "counts": compress(self.counts)}

    @classmethod
    def from_coco(cls, rle: dict[str, object]) -> Rle:
        """Read the compressed or the uncompressed COCO form.

        Raises:
            InputError: the counts do not cover the size.
        """
        size, counts = rle["size"], rle["counts"]
        if isinstance(counts, bytes):
            counts = counts.decode("ascii")
        runs = decompress(counts) if isinstance(counts, str) else np.asarray(counts, np.int64)
        height, width = (int(side) for side in np.asarray(size).tolist())
        # No run is longer than the mask: the sum of longer ones could wrap around to its size.
        fits = runs.ndim == 1 and ((runs >= 0) & (runs <= height * width)).all()
        if not fits or runs.sum() != height * width:
            raise InputError(
                f"RLE counts cover {runs.sum()} pixels; expected {height} x {width} in runs >= 0."
            )
        return cls((height, width), runs)


def compress(counts: NDArray[np.int64]) -> str:
    """Counts to COCO's printable string."""
    values = counts.astype(np.int64).copy()
    values[3:] -= counts[1:-2]
    out = bytearray()
    for value in values.tolist():
        while True:
            group = value & 0x1F
            value >>= 5
            # Finished when the sign bit of this group already says the rest.
            done = value == (-1 if group & 0x10 else 0)
            out.append(48 + (group if done else group | 0x20))
            if done:
                break
    return out.decode("ascii")


def decompress(text: str) -> NDArray[np.int64]:
    """Inverse of :func:`compress`.

    Raises:
        InputError: the text ends inside a number or holds a character outside the format.
    """
    counts: list[int] = []
    value = shift = 0
    for code in text.encode("latin-1", "replace"):
        group = code - 48
        if not 0 <= group < 64:
            raise InputError(f"RLE counts hold {chr(code)!r}; expected COCO's compressed form.")
        value |= (group & 0x1F) << shift
        shift += 5
        if shift > _MOST_BITS:
            raise InputError(_TOO_LARGE)
        if group & 0x20:
            continue
        if group & 0x10:
            value -= 1 << shift
        value += counts[-2] if len(counts) > 2 else 0
        if abs(value) >= _MOST:
            raise InputError(_TOO_LARGE)
        counts.append(value)
        value = shift = 0
    if shift:
        raise InputError("RLE counts end inside a number; expected COCO's compressed form.")
    return np.array(counts, np.int64)
