"""Values inside the one sentence of an error."""

from __future__ import annotations

from typing import Any

_LONGEST = 80
_LONGEST_REASON = 300


def shown(value: Any) -> str:
    """``repr`` on one line, cut in the middle of long values."""
    text = " ".join(repr(value).split())
    if len(text) <= _LONGEST:
        return text
    half = (_LONGEST - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"


def reason(error: BaseException) -> str:
    """What somebody else's error says, on one line; its type where it says nothing."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}..."
