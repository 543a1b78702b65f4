"""Reads Label Studio's run lengths bit by bit, as its format says it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def read_brush(written: Sequence[int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask ``[H, W]``; its RGBA values have to agree."""
    bits = "".join(f"{byte:08b}" for byte in written)
    at = 0

    def take(count: int) -> int:
        nonlocal at
        at += count
        return int(bits[at - count : at], 2)

    count, width = take(32), take(5) + 1
    sizes = [take(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < count:
        repeated, length = take(1), take(sizes[take(2)]) + 1
        values += [take(width)] * length if repeated else [take(width) for _ in range(length)]
    pixels = np.array(values).reshape(*size, 4)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 3] > 0
