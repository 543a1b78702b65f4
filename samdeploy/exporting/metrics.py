"""How far two answers are apart."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from samdeploy.constants import MASK_THRESHOLD
from samdeploy.session import Array

Floats = NDArray[np.floating[Any]]


def finite(*arrays: Array) -> tuple[int, list[Array]]:
    """How many values are NaN or infinite, and the arrays in float64 with 0 in their place."""
    wide = [np.asarray(array, np.float64) for array in arrays]
    found = sum(array.size - np.count_nonzero(np.isfinite(array)) for array in wide)
    return int(found), [np.where(np.isfinite(array), array, 0) for array in wide]


def mask_iou(a: Floats, b: Floats) -> NDArray[np.float64]:
    """IoU over the last two axes of the masks of two logit arrays; 1 when both are empty."""
    first, second = a > MASK_THRESHOLD, b > MASK_THRESHOLD
    both = np.count_nonzero(first & second, axis=(-2, -1))
    either = np.count_nonzero(first | second, axis=(-2, -1))
    return np.where(either == 0, 1.0, both / np.maximum(either, 1))


def relative_error(a: Floats, b: Floats) -> float:
    """Largest difference relative to the largest reference value."""
    return float(np.abs(a - b).max() / max(float(np.abs(a).max()), 1e-30))
