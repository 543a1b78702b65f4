"""The images of a run."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from samdeploy.annotation.digests import digest_of
from samdeploy.annotation.matching import fold
from samdeploy.errors import InputError
from samdeploy.sources import is_video, list_sources
from samdeploy.text import as_utf8


def list_images(data: str | PathLike[str]) -> tuple[list[Path], dict[str, str]]:
    """The images, in the order of their names, which must differ: labels are called like them. And
    those whose names are in no encoding, with the reason why they are left out.

    Raises:
        InputError: there are none, or two of one name, or there is a video among them.
    """
    paths: list[Path] = []
    nameless: dict[str, str] = {}
    stems: dict[str, Path] = {}
    for path in sorted(list_sources(data), key=lambda path: path.name):
        if is_video(path):
            raise InputError(f"'{path}' is a video; expected images, extract its frames first.")
        name = as_utf8(path.name)
        if name != path.name:
            nameless[name] = "its name is not UTF-8; rename it."
            continue
        other = stems.setdefault(fold(path.stem), path)
        if other is path:
            paths.append(path)
        elif other.name != path.name or not other.samefile(path):  # a loop of symbolic links
            raise InputError(
                f"'{other}' and '{path}' would share a label file; rename one of them."
            )
    return paths, nameless


def describe_images(names: Sequence[str]) -> str:
    """Their number, and a digest of all their names."""
    return f"{len(names)} names, {digest_of(name.encode() + b'/' for name in names)[:8]}"
