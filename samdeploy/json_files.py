"""JSON files: those that somebody else may have written, and those that must be readable again."""

from __future__ import annotations

import math
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from samdeploy.errors import SamDeployError

_T = TypeVar("_T")


class UnreadableError(Exception):
    """Says in a few words why content is not what it should be."""


def read_regular(path: Path, most: int) -> bytes:
    """The content of a regular file of at most ``most`` bytes.

    Raises:
        UnreadableError: it is missing, longer or something else than a file.
    """
    try:
        # A pipe would wait for a writer, and a device has no end.
        if not stat.S_ISREG(path.stat().st_mode):
            raise UnreadableError("it is no regular file")
        with path.open("rb") as file:
            content = file.read(most + 1)
    except (OSError, ValueError) as error:
        raise UnreadableError(getattr(error, "strerror", None) or str(error)) from error
    if len(content) > most:
        raise UnreadableError(f"it has more than {most} bytes")
    return content


class _Versioned(msgspec.Struct):
    schema_version: int


def check_version(
    path: Path, content: bytes, newest: int, error: type[SamDeployError], else_do: str
) -> None:
    """Raise ``error`` where ``content`` of the file ``path`` has a newer ``schema_version`` than
    this program reads; ``else_do`` is what there is to do beside upgrading.

    Raises:
        UnreadableError: it has none.
    """
    version = decode_json(content, _Versioned).schema_version
    if version > newest:
        raise error(
            f"'{path}' has schema version {version}, this samdeploy reads up to {newest}; upgrade "
            f"samdeploy{else_do}."
        )


def decode_json(content: bytes, kind: type[_T]) -> _T:
    """``content`` as a value of ``kind``.

    Raises:
        UnreadableError: it is no JSON, not of that kind, or out of its limits.
    """
    try:
        return msgspec.json.decode(content, type=kind)
    except RecursionError as error:
        raise UnreadableError("it is nested too deeply") from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise UnreadableError(str(error)) from error


def encode_json(value: Any) -> bytes:
    """``value`` as indented JSON.

    Raises:
        ValueError: a number in it is not finite; JSON has none of those, and null in its place
            would be another value.
    """
    plain = msgspec.to_builtins(value)
    for name, number in _not_finite(plain, ""):
        raise ValueError(f"{name} is {number}; expected a finite number")
    return msgspec.json.format(msgspec.json.encode(plain), indent=2)


def _not_finite(value: Any, name: str) -> Iterator[tuple[str, float]]:
    """The numbers in a plain value that are not finite, with their names."""
    if isinstance(value, float) and not math.isfinite(value):
        yield name, value
    if isinstance(value, (list, tuple)):
        value = dict(enumerate(value))
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield from _not_finite(inner, f"{name}.{key}".lstrip("."))
