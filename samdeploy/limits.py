"""Numbers that a user gives, checked against the limits of what they set."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

from samdeploy.errors import InputError
from samdeploy.text import shown


def whole(name: str, value: Any, least: int, most: int) -> int:
    """``value``, Python's or NumPy's, as an ``int``.

    Raises:
        InputError: it is not a whole number from ``least`` to ``most``.
    """
    fits = isinstance(value, Integral) and not isinstance(value, bool)
    if not fits or not least <= int(value) <= most:
        raise InputError(
            f"{name}={shown(value)}; expected a whole number from {least} to {most:,}."
        )
    return int(value)


def number(name: str, value: Any, least: float, most: float) -> float:
    """``value``, Python's or NumPy's, as a ``float``.

    Raises:
        InputError: it is not a number from ``least`` to ``most``.
    """
    fits = isinstance(value, Real) and not isinstance(value, bool)
    # Compared as it is: not-a-number is in no range, and some integers are no floats.
    within: Any = value
    if not fits or not least <= within <= most:
        raise InputError(f"{name}={shown(value)}; expected a number from {least:g} to {most:g}.")
    return float(value)
