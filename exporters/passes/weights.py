"""Weights in fewer bytes: 16 or 8 bits each, and tables as what they were made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np
import torch

from samdeploy.session import Array

#: Below this many values the cast that widens them again costs more than they save.
_FEWEST = 1024
#: Smaller tables are not worth three operators.
_SMALLEST_TABLE = 1 << 12
#: Of a window of 4 x 4. What is smaller is a convolution, whose columns take minutes to compare.
_FEWEST_PLACES = 16
_MOST_COLUMNS = 256  # what a byte can tell apart


def is_large(shape: Sequence[int]) -> bool:
    """Matrices and tables, but neither biases nor the scales of 8-bit layers, whose precision
    matters and whose size does not."""
    return prod(shape) >= _FEWEST and sum(side > 1 for side in shape) > 1


def narrow(values: Array, kind: torch.dtype) -> Array:
    """Float32 values as ``torch.float16`` or ``torch.bfloat16``, rounded to the nearest: their
    bits, as int16, because NumPy has no bfloat16."""
    bits: Array = torch.tensor(values).to(kind).view(torch.int16).numpy()
    return bits


def bytes_and_scales(values: Array) -> tuple[Array, Array]:
    """Float32 weights of a convolution, ``[outputs, inputs, height, width]`` or with groups before
    that, as int8 and one float32 scale for each output, such that their product is the nearest to
    them."""
    largest = np.abs(values).max(axis=(-3, -2, -1), keepdims=True)
    scales = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    return np.rint(values / scales).astype(np.int8), scales


def columns_and_index(
    shape: Sequence[int], read: Callable[[], Array]
) -> tuple[Array, Array] | None:
    """Columns ``[..., heads, U]`` and the index uint8 ``[N, N]`` that make up a table
    ``[..., heads, N, N]``, to the bit; ``None`` for one that has too many columns.

    TinyViT adds to its attention a table with one value for each absolute offset between two of
    ``N`` places: a few hundred different columns, spelled out 38,000 times. In a traced model these
    tables are a fifth of the encoder and more.
    """
    square = len(shape) >= 3 and shape[-1] == shape[-2] >= _FEWEST_PLACES
    table = square and prod(shape) >= _SMALLEST_TABLE
    if not table:
        return None
    values = read().reshape(-1, shape[-1] ** 2)
    _, first, index = np.unique(values, axis=1, return_index=True, return_inverse=True)
    if len(first) > min(_MOST_COLUMNS, values.shape[1] // 4):
        return None
    # In the order of their first places, tables of one window size have the same index.
    order = np.argsort(first)
    columns, index = values[:, first[order]], np.argsort(order)[index]
    return columns.reshape(*shape[:-2], -1), index.reshape(shape[-2:]).astype(np.uint8)
