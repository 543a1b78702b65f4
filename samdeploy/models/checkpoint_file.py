"""A checkpoint file to what it holds, told by its content and not by its name.

Nothing in a file is executed: ``torch.load`` runs with ``weights_only=True``.
"""

from __future__ import annotations

import pickle
import re
import stat
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from samdeploy.errors import CheckpointError, SamDeployError
from samdeploy.text import reason

#: Bytes. ViT-H with an optimiser's state has 8 GB.
_LARGEST = 64 << 30

_ZIP = b"PK\x03\x04"
_PICKLE = b"\x80"
#: How files begin that are taken for checkpoints, and what to do about them.
_STRANGERS = (
    (
        b"version https://git-lfs",
        "is a pointer of Git LFS and not the weights; run 'git lfs pull' where it was cloned, or "
        "download the file itself",
    ),
    (b"<", "is a web page and not the weights; download the file itself, not the page about it"),
    (b"\x1f\x8b", "is compressed with gzip; unpack it and pass what is inside"),
)


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Whatever the block raises on account of a file becomes a :class:`CheckpointError`.

    The libraries that read it, and the arithmetic with what it claims, raise IndexError,
    struct.error, UnicodeDecodeError, RecursionError, MemoryError and others.
    """
    try:
        yield
    except SamDeployError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"'{path}' cannot be read as a checkpoint ({reason(error)}); it is truncated or "
            "damaged or holds another model, fetch it again."
        ) from error


def file_size(path: Path, most: int = _LARGEST) -> int:
    """Bytes of a regular file; a pipe or a device would hang or never end.

    Raises:
        CheckpointError: there is no such file, or it is larger than ``most``.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise CheckpointError(
            f"'{path}' cannot be opened or does not exist ({reason(error)}); expected a file."
        ) from error
    if not stat.S_ISREG(status.st_mode):
        raise CheckpointError(f"'{path}' is not a regular file; expected one.")
    if status.st_size > most:
        raise CheckpointError(f"'{path}' has {status.st_size} bytes; expected {most} at most.")
    return status.st_size


def read_content(path: Path, *, weights: bool = True) -> Any:
    """Read what was saved: usually a mapping.

    Args:
        weights: whether tensors are wanted. Without, they are neither read nor checked.

    Raises:
        CheckpointError: not a file that torch or safetensors wrote, or a damaged one.
    """
    size = file_size(path)
    with refusing(path), path.open("rb") as file:
        head = file.read(64)
    if not size:
        raise CheckpointError(f"'{path}' is empty; fetch it again.")
    if head[4:9] == b"\0\0\0\0{":  # the length of a header in JSON
        with refusing(path):
            return load_file(path) if weights else {}
    for begin, says in _STRANGERS:
        if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(begin):
            raise CheckpointError(f"'{path}' {says}.")
    if not head.startswith((_ZIP, _PICKLE)):
        raise CheckpointError(
            f"'{path}' is not a checkpoint: neither torch.save nor safetensors wrote it; pass the "
            "weights as one of them writes them."
        )
    archive = head.startswith(_ZIP)
    with refusing(path):
        if archive:
            _check_archive(path, size, weights)
        return _unpickled(path, mmap=archive and not weights)


def _unpickled(path: Path, mmap: bool) -> Any:
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            # Whether it can be read is told in words for users.
            warnings.simplefilter("ignore")
            # Torch goes by the end of a name, and maps files by their name alone.
            mmap = mmap and path.suffix != ".safetensors"
            source: Any = path if mmap else file
            return torch.load(source, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"such as {named[1]}, " if named else ""
        raise CheckpointError(
            f"'{path}' is not a plain checkpoint: it is damaged or holds objects other than "
            f"tensors, {what}which are never executed; save its state dict and use that."
        ) from error


def _check_archive(path: Path, size: int, weights: bool) -> None:
    """Torch does not compare the checksums that it writes."""
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        names = [record.filename.rpartition("/")[2] for record in records]
        if "data.pkl" not in names or "constants.pkl" in names:
            what = "a TorchScript model" if "constants.pkl" in names else "an archive"
            raise CheckpointError(
                f"'{path}' is {what} and no checkpoint; expected what torch.save writes of a state "
                "dict."
            )
        if sum(record.file_size for record in records) > size:
            raise CheckpointError(
                f"'{path}' holds compressed records, which torch.save does not write; unpack it "
                "and save it again."
            )
        # Torch can be told to leave the checksums out; they are all 0 then.
        if weights and any(record.CRC for record in records) and (bad := archive.testzip()):
            raise CheckpointError(
                f"'{path}' is damaged: the checksum of its record '{bad}' is wrong; fetch it again."
            )
