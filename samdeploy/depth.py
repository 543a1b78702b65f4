"""Pixels of any depth to 8 bits; the rule is that of :class:`ImageOptions`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from samdeploy.errors import InputError
from samdeploy.image_options import ImageOptions
from samdeploy.notices import notice

_DEPTHS = (8, 10, 12, 14, 16)


def to_eight_bits(values: NDArray[Any], options: ImageOptions, name: str) -> NDArray[np.uint8]:
    """Integer or floating-point ``values`` of any shape as uint8; ``name`` is for messages.

    Raises:
        InputError: values that are not finite, or for which the options give no meaning.
    """
    least, largest = values.min(), values.max()
    if not (np.isfinite(least) and np.isfinite(largest)):
        raise InputError(f"{name} holds values that are not finite; expected numbers, convert it.")
    low, high = options.window or (0, 2 ** _bits(values, least, largest, options, name) - 1)
    # float32 is exact for 16 bits.
    kind = np.float32 if values.dtype.itemsize <= 2 else np.float64
    scaled = np.subtract(values, low, dtype=kind)
    scaled *= 255 / (high - low)
    eight: NDArray[np.uint8] = np.rint(scaled).clip(0, 255).astype(np.uint8)
    return eight


def _bits(values: NDArray[Any], least: Any, largest: Any, options: ImageOptions, name: str) -> int:
    if values.dtype.kind == "f":
        raise InputError(
            f"{name} holds floating-point values from {least:g} to {largest:g}; say with "
            "window=[black, white] which are black and white."
        )
    bits = options.bit_depth or next((b for b in _DEPTHS if largest < 2**b), None)
    if bits is None or least < 0 or largest >= 2**bits:
        expected = f"0 to {2 ** (bits or 16) - 1} in {bits or 16} bits"
        raise InputError(
            f"{name} holds values from {least} to {largest}; expected {expected}, say with "
            "window=[black, white] which are black and white."
        )
    if options.bit_depth is None and bits < _DEPTHS[-1] and largest:
        notice(
            "%s holds values up to %d and is taken as %d-bit; set bit_depth= or window= if it is "
            "not.",
            name, largest, bits,
        )  # fmt: skip
    return bits
