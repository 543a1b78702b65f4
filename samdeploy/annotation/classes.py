"""Class ids and their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from samdeploy.detections import MOST_CLASSES
from samdeploy.errors import InputError
from samdeploy.text import reason, shown
from samdeploy.text_files import read_text

_YAML = frozenset({".yaml", ".yml"})


def read_names(path: str | Path) -> dict[int, str]:
    """Names of classes from a text file, one a line, class 0 first; or from a file ending in
    ``.yaml`` or ``.yml`` that has ``names``, a list or ``id: name``, as Ultralytics' data sets do.

    Raises:
        InputError: it cannot be read, names nothing, or names a class twice.
    """
    path = Path(path)
    names = _from_yaml(path) if path.suffix.lower() in _YAML else _from_lines(path)
    listed = list(names.values())
    twice = next((name for name in listed if listed.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"names={path} has '{twice}' twice; expected different names.")
    return names


def _from_lines(path: Path) -> dict[int, str]:
    try:
        lines = read_text(path).split("\n")
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"names={path} cannot be read; expected a text file with one class name a line."
        ) from error
    names = [line.strip() for line in lines]
    while names and not names[-1]:
        names.pop()
    if not names or not all(names):
        raise InputError(f"names={path} has an empty line; expected one class name a line.")
    return as_names(names, f"names={path}")


def _from_yaml(path: Path) -> dict[int, str]:
    content = read_yaml(path)
    if not isinstance(content, dict) or not content.get("names"):
        raise InputError(f"names={path} has no 'names'; expected a list of them, or id: name.")
    return as_names(content["names"], f"names={path}")


def read_yaml(path: Path) -> Any:
    """Read a YAML file: dictionaries, lists, and text as it is written (``no`` is a class
    name here, and no truth value).

    Raises:
        InputError: it cannot be read.
    """
    # Here and not above: few runs need it.
    import yaml

    try:
        # This loader makes nothing but text, lists and dictionaries.
        return yaml.load(read_text(path), Loader=yaml.BaseLoader)
    except (OSError, UnicodeError, yaml.YAMLError, RecursionError) as error:
        raise InputError(
            f"'{path}' cannot be read as YAML ({reason(error)}); correct it."
        ) from error


def as_names(value: Any, origin: str) -> dict[int, str]:
    """Class ids to names, from a list or a mapping of ids (numbers, or text such as "3").

    Raises:
        InputError: ``origin`` gave something else.
    """
    pairs = enumerate(value) if _is_list(value) else _items(value)
    try:
        names = {int(index): name if isinstance(name, str) else str(name) for index, name in pairs}
    except (TypeError, ValueError):
        names = {-1: ""}
    if any(not 0 <= index < MOST_CLASSES or not name.strip() for index, name in names.items()):
        raise InputError(
            f"{origin} gives {shown(value)}; expected names, or ids from 0 to {MOST_CLASSES - 1} "
            "and a name each."
        )
    return names


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _items(value: Any) -> Iterable[tuple[Any, Any]]:
    return value.items() if isinstance(value, Mapping) else [(None, None)]


def complete_names(names: Mapping[int, str], used: Iterable[int]) -> dict[int, str]:
    """Names of all classes from 0 to the largest that is named or used, as trainers want them; one
    without a name is called ``class`` and its number."""
    last = max([*names, *used, -1])
    return {index: names.get(index, f"class{index}") for index in range(last + 1)}
