"""What a library does not tell of a graph that it opens, as JSON in a file beside the graph."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from samdeploy.errors import BundleError
from samdeploy.json_files import UnreadableError, decode_json, encode_json, read_regular

_T = TypeVar("_T", bound=msgspec.Struct)


def sidecar_path(graph: Path) -> Path:
    return graph.with_suffix(".json")


def write_beside(graph: Path, record: msgspec.Struct) -> None:
    sidecar_path(graph).write_bytes(encode_json(record))


def read_beside(graph: Path, kind: type[_T], most: int) -> _T:
    """The record of ``graph``, of at most ``most`` bytes.

    Raises:
        BundleError: it is missing, longer, or not one of that kind.
    """
    path = sidecar_path(graph)
    try:
        return decode_json(read_regular(path, most), kind)
    except UnreadableError as error:
        raise BundleError(
            f"'{path}' does not say what '{graph.name}' was built for ({error}); export the bundle "
            "again."
        ) from error
