"""Values that a user gives, Python's or NumPy's, checked against the limits of what they set."""

from __future__ import annotations

import sys
from numbers import Integral, Real
from typing import Any

import numpy as np

from samdeploy.errors import InputError
from samdeploy.text import shown

#: No upper limit: infinity is no number that anything can be set to.
_ANY = sys.float_info.max


def whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """``value`` as an ``int``.

    Raises:
        InputError: it is not a whole number from ``least`` to ``most``.
    """
    fits = isinstance(value, Integral) and not isinstance(value, bool)
    if not fits or int(value) < least or (most is not None and int(value) > most):
        span = f"from {least} up" if most is None else f"from {least} to {most:,}"
        raise InputError(f"{name}={shown(value)}; expected a whole number {span}.")
    return int(value)


def number(name: str, value: Any, least: float, most: float = _ANY) -> float:
    """``value`` as a ``float``.

    Raises:
        InputError: it is not a number from ``least`` to ``most``.
    """
    fits = isinstance(value, Real) and not isinstance(value, bool)
    # Compared as it is: not-a-number is in no range, and some integers are no floats.
    # NumPy's narrow floats would take the limits for infinite.
    within: Any = value.item() if hasattr(value, "item") else value
    if not fits or not least <= within <= most:
        span = f"from {least:g} up" if most == _ANY else f"from {least:g} to {most:g}"
        raise InputError(f"{name}={shown(value)}; expected a number {span}.")
    return float(value)


def truth(name: str, value: Any) -> bool:
    """``value`` as a ``bool``.

    Raises:
        InputError: it is neither true nor false.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise InputError(f"{name}={shown(value)}; expected True or False.")
    return bool(value)
