"""Values inside the one sentence of an error, and names that not every reader can take."""

from __future__ import annotations

import difflib
import os
import unicodedata
from collections.abc import Iterable
from typing import Any

from samdeploy.errors import SamDeployError

_LONGEST = 80
_LONGEST_REASON = 300
#: Control characters, halves of characters, and what begins a line or a paragraph.
_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})


def shown(value: Any) -> str:
    """``repr`` on one line, cut in the middle of long values."""
    try:
        return shortened(repr(value))
    except ValueError:  # Python writes no integer of more than a few thousand digits
        return f"<{type(value).__name__} of thousands of digits>"


def shortened(text: str) -> str:
    """``text`` on one line, cut in the middle of long ones."""
    text = " ".join(text.split())
    if len(text) <= _LONGEST:
        return text
    half = (_LONGEST - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"


def reason(error: BaseException) -> str:
    """The words of somebody else's error, on one line; its type where that is part of it."""
    text = " ".join(str(error).split())
    if not text:
        return type(error).__name__
    if not isinstance(error, (ImportError, SamDeployError)):
        text = f"{type(error).__name__}: {text}"
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}..."


def printable(name: str | os.PathLike[str]) -> str:
    """A name on one line of a terminal: control characters, and bytes that are no UTF-8, are
    escaped."""
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in _UNPRINTABLE else c
        for c in os.fspath(name)
    )


def as_utf8(name: str | os.PathLike[str]) -> str:
    """A name that every reader of UTF-8 takes: bytes of a file name that are none are escaped."""
    return os.fspath(name).encode("utf-8", "backslashreplace").decode("utf-8")


def suggestion(name: str, known: Iterable[str]) -> str:
    """Suggest the one of ``known`` that was probably meant by ``name``, or all of them."""
    names = list(known)
    close = difflib.get_close_matches(name, names, 1)
    return f"did you mean '{close[0]}'?" if close else f"expected one of {', '.join(names)}."
