"""Class ids and their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from samdeploy.errors import InputError


def read_names(path: str | Path) -> dict[int, str]:
    """Names from a text file: one class a line, class 0 first.

    Raises:
        InputError: it cannot be read, is empty, or names a class twice.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"names={path} cannot be read; expected a text file with one class name a line."
        ) from error
    names = [line.strip() for line in lines]
    while names and not names[-1]:
        names.pop()
    if not names or not all(names):
        raise InputError(f"names={path} has an empty line; expected one class name a line.")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"names={path} has '{twice}' twice; expected different names.")
    return dict(enumerate(names))


def complete_names(names: Mapping[int, str], used: Iterable[int]) -> dict[int, str]:
    """Names of all classes from 0 to the largest that is named or used, as trainers want them; one
    without a name is called ``class`` and its number."""
    last = max([*names, *used, -1])
    return {index: names.get(index, f"class{index}") for index in range(last + 1)}
