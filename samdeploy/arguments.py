"""The command line's way of writing things: ``key=value`` and nested lists."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from samdeploy.errors import InputError
from samdeploy.images import load_image

_PAIR = re.compile(r"^(?:--)?([A-Za-z][\w-]*)=(.*)$", re.DOTALL)
_TRUTH = dict.fromkeys(("true", "1", "yes", "on"), True) | dict.fromkeys(
    ("false", "0", "no", "off"), False
)


def rewrite(arguments: list[str], flags: frozenset[str]) -> list[str]:
    """``key=value``, ``--key=value`` and ``--key value`` to ``--key value`` for every option.

    ``flags`` are the names of yes/no options: their value becomes ``--key`` or ``--no-key``.
    Dashes inside a name become underscores.
    """
    out: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        pair = _PAIR.match(argument)
        if pair:
            name, value = pair[1].replace("-", "_"), pair[2]
            out += _flag(name, value) if name in flags else [f"--{name}", value]
        elif argument.startswith("--") and len(argument) > 2:
            name = argument[2:].replace("-", "_")
            if name in flags and rest and rest[0].lower() in _TRUTH:
                out += _flag(name, rest.pop(0))
            elif name.startswith("no_") and name[3:] in flags:
                out.append(f"--no-{name[3:]}")
            else:
                out.append(f"--{name}")
        else:
            out.append(argument)
    return out


def _flag(name: str, value: str) -> list[str]:
    if value.lower() not in _TRUTH:
        raise InputError(f"{name}={value}; expected True or False.")
    return [f"--{name}" if _TRUTH[value.lower()] else f"--no-{name}"]


def parse_numbers(text: str | None, name: str) -> Any:
    """A number or a nested list of numbers, such as ``[[900,370],[400,300]]``; ``None`` stays.

    Raises:
        InputError: anything else.
    """
    if text is None:
        return None
    try:
        # NaN is refused later, with the same words as in the API.
        value = json.loads(text.strip().replace("nan", "NaN"))
    except ValueError:
        if "," in text:
            return (
                parse_numbers(f"[{text.strip()}]", name) if "[" not in text else _refuse(text, name)
            )
        return _refuse(text, name)
    if not _numeric(value):
        return _refuse(text, name)
    return value


def _refuse(text: str, name: str) -> Any:
    raise InputError(f"{name}={text}; expected numbers such as [[900,370],[400,300]].")


def _numeric(value: Any) -> bool:
    if isinstance(value, list):
        return all(_numeric(item) for item in value)
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def load_mask(path: str | None) -> Any:
    """A mask prompt from an image file: pixels brighter than half are inside."""
    if path is None:
        return None
    return load_image(Path(path)).max(axis=2) > 127
