"""Parts of an ONNX file, read without the package onnx and without its weights.

The file is a message of protocol buffers: numbered fields, some of which are messages again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

from samdeploy.errors import BundleError

_T = TypeVar("_T")

_VARINT, _BYTES = 0, 2
_FIXED = {1: 8, 5: 4}  # wire types of so many bytes
_DEEPEST = 100  # messages in messages, as protocol buffers allow by default

_METADATA = 14  # of ModelProto: entries of a key and a value
_KEY, _VALUE = 1, 2

#: Where tensors are: by kind of message, the kinds of its fields on the way there.
_FIELDS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "external"},
}


def read_onnx_metadata(path: Path) -> dict[str, str]:
    """The metadata properties of an ONNX file; its graph is skipped, not read.

    Raises:
        BundleError: not an ONNX file.
    """
    return _read(
        path,
        lambda file, size: dict(
            _entry(file, end) for number, end in _fields(file, size) if number == _METADATA
        ),
    )


def external_files(path: Path) -> set[str]:
    """The files that hold weights of an ONNX file, as it names them: relative to its folder.

    Raises:
        BundleError: not an ONNX file.
    """
    return _read(path, lambda file, size: set(_locations(file, size, "model", _DEEPEST)))


def _read(path: Path, take: Callable[[BinaryIO, int], _T]) -> _T:
    try:
        with path.open("rb") as file:
            return take(file, path.stat().st_size)
    except OSError as error:
        raise BundleError(f"'{path}' cannot be read ({error.strerror}); check the path.") from error
    except (EOFError, ValueError) as error:
        raise BundleError(
            f"'{path}' is not an ONNX file or is truncated; export or copy it again."
        ) from error


def _locations(file: BinaryIO, end: int, kind: str, deeper: int) -> Iterator[str]:
    """Where the external tensors are that a message of ``kind`` holds."""
    if not deeper:
        raise ValueError("nested too deeply")
    for number, inner_end in _fields(file, end):
        inner = _FIELDS[kind].get(number)
        if inner == "external":
            key, value = _entry(file, inner_end)
            if key == "location":
                yield value
        elif inner is not None:
            yield from _locations(file, inner_end, inner, deeper - 1)


def _entry(file: BinaryIO, end: int) -> tuple[str, str]:
    """Key and value of an entry."""
    texts = {number: file.read(stop - file.tell()) for number, stop in _fields(file, end)}
    return texts.get(_KEY, b"").decode(), texts.get(_VALUE, b"").decode()


def _fields(file: BinaryIO, end: int) -> Iterator[tuple[int, int]]:
    """Numbers of the fields with content of their own in the message that lasts until ``end``, and
    where the content ends; ``file`` stands where it begins, and may be left anywhere."""
    while file.tell() < end:
        key = _varint(file)
        if key >> 32:  # libraries drop the upper bits, and read another field than is skipped here
            raise ValueError("a field's key of more than 32 bits")
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            _varint(file)
            continue
        if kind not in (_BYTES, *_FIXED):
            raise ValueError(f"wire type {kind}")
        stop = (_FIXED.get(kind) or _varint(file)) + file.tell()
        if stop > end:
            raise EOFError
        if kind == _BYTES:
            yield number, stop
        file.seek(stop)


def _varint(file: BinaryIO) -> int:
    """An integer in groups of seven bits, lowest first; the eighth says that another follows."""
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise EOFError
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("a number of more than 64 bits")
