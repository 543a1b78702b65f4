"""Label Studio's run lengths of brush strokes.

The format is that of the library rle-pack: a stream of bits, the highest of a byte first. It begins
with the number of values (32 bits), the bits of a value less one (5) and four sizes less one (4
each). Then, block by block: a bit that says whether a value is repeated, the number of a size (2),
how many values less one (as many bits as that size says), and the value. The values are the bytes
of an RGBA picture, row by row; inside a mask all four are 255.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_VALUE_BITS = 8
_SIZES = np.array([3, 4, 8, 16])
_CHANNELS = 4


def brush_rle(mask: NDArray[np.bool_]) -> list[int]:
    """The bytes of a mask ``[H, W]``."""
    flat = np.asarray(mask, bool).ravel()
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]) + 1, flat.size)
    inside = flat[ends - 1]
    lengths = np.diff(ends, prepend=0) * _CHANNELS
    # A block holds no more than its largest size can say.
    most = 1 << int(_SIZES[-1])
    blocks = -(-lengths // most)
    inside = np.repeat(inside, blocks)
    last = np.cumsum(blocks) - 1
    counts = np.full(len(inside), most)
    counts[last] = lengths - (blocks - 1) * most
    size = np.searchsorted(1 << _SIZES, counts)
    length_bits = _SIZES[size]
    word = ((0b100 | size) << length_bits | (counts - 1)) << _VALUE_BITS | inside * 255
    bits = np.concatenate(
        [_header(flat.size * _CHANNELS), _bits(word, 3 + length_bits + _VALUE_BITS)]
    )
    return [int(byte) for byte in np.packbits(bits)]


def _header(count: int) -> NDArray[np.uint8]:
    words = np.array([count, _VALUE_BITS - 1, *(_SIZES - 1)])
    return _bits(words, np.array([32, 5, 4, 4, 4, 4]))


def _bits(words: NDArray[np.int64], widths: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Every word in as many bits as its width says, the highest first."""
    starts = np.cumsum(widths) - widths
    place = np.arange(widths.sum()) - np.repeat(starts, widths)
    shift = np.repeat(widths, widths) - 1 - place
    bits: NDArray[np.uint8] = ((np.repeat(words, widths) >> shift) & 1).astype(np.uint8)
    return bits
