"""Values inside the one sentence of an error."""

from __future__ import annotations

from typing import Any

_LONGEST = 80


def shown(value: Any) -> str:
    """``repr`` on one line, cut in the middle of long values."""
    text = " ".join(repr(value).split())
    if len(text) <= _LONGEST:
        return text
    half = (_LONGEST - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"
