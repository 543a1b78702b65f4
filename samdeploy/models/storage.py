"""Which weights are worth storing in 16 bits, and their values in 16 bits."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch

from samdeploy.session import Array

#: Below this many values the cast that widens them again costs more than they save.
_FEWEST = 1024


def is_large(shape: Sequence[int]) -> bool:
    """Matrices and tables, but neither biases nor the scales of 8-bit layers, whose precision
    matters and whose size does not."""
    return prod(shape) >= _FEWEST and sum(side > 1 for side in shape) > 1


def narrow(values: Array, kind: torch.dtype) -> Array:
    """Float32 values as ``torch.float16`` or ``torch.bfloat16``, rounded to the nearest: their
    bits, as int16, because NumPy has no bfloat16."""
    bits: Array = torch.tensor(values).to(kind).view(torch.int16).numpy()
    return bits
