"""Reading what is a file, and writing files so that nobody ever sees half of one."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from samdeploy.errors import InputError, OutputError
from samdeploy.locks import take
from samdeploy.text import as_utf8

#: How the names of what is unfinished begin, of files and of folders.
UNFINISHED = ".samdeploy-"

_REMEDIES = {
    errno.ENOSPC: "free some space, or choose another folder",
    errno.EDQUOT: "free some space, or choose another folder",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def check_file(path: str | os.PathLike[str], what: str) -> Path:
    """``path``, which is a file that may be opened; ``what`` it is, for messages.

    Raises:
        InputError: it is missing, a folder, a device or a pipe, or cannot be reached.
    """
    name = as_utf8(path)
    if not name:
        raise InputError(f"the name of the {what} is empty; expected a file.")
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError as error:
        raise InputError(f"{what} '{name}' does not exist; expected a file.") from error
    except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
        raise InputError(
            f"{what} '{name}' cannot be opened ({getattr(error, 'strerror', None) or error}); "
            "expected a file."
        ) from error
    if stat.S_ISDIR(mode):
        raise InputError(f"{what} '{name}' is a folder; expected a file.")
    if not stat.S_ISREG(mode):
        raise InputError(f"{what} '{name}' is a device or a pipe; expected a file.")
    if not os.access(path, os.R_OK):
        raise InputError(f"{what} '{name}' may not be read; change its permissions.")
    return Path(path)


def output_error(path: str | os.PathLike[str], error: OSError) -> OutputError:
    """The error for a ``path`` that cannot be written."""
    remedy = _REMEDIES.get(error.errno or 0, "choose another folder")
    return OutputError(
        f"'{as_utf8(path)}' cannot be written to ({error.strerror or error}); {remedy}."
    )


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` that becomes ``path`` when the block ends without error.

    What a killed process left of this in the folder is removed.

    Raises:
        OutputError: the folder cannot be written to, or an ``OSError`` came from the block.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent.absolute())
        handle, name = tempfile.mkstemp(prefix=UNFINISHED, suffix=path.suffix, dir=path.parent)
        temporary = Path(name)
        # Somebody's, for as long as this process lives. Windows removes no open file anyway, and
        # a lock there would keep the block from writing.
        if sys.platform != "win32":
            take(handle, wait=False)
        try:
            yield temporary
        finally:
            os.close(handle)
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def fitting_name(stem: str, folder: Path, spare: int) -> str:
    """``stem``, shortened where the file system of ``folder`` allows no name that is ``spare``
    bytes longer; a hash of what it was keeps two such names apart."""
    most = 255
    with suppress(AttributeError, OSError, ValueError):  # not every system tells
        most = os.pathconf(folder, "PC_NAME_MAX")
    content = os.fsencode(stem)
    if len(content) + spare <= most:
        return stem
    mark = "-" + hashlib.sha256(content).hexdigest()[:8]
    while len(os.fsencode(stem)) + len(mark) + spare > most:
        stem = stem[:-1]
    return stem + mark


@lru_cache(maxsize=64)
def _sweep(folder: Path) -> None:
    """Remove what killed processes left unfinished in ``folder``; once per folder."""
    for left in folder.glob(f"{UNFINISHED}*"):
        with suppress(OSError):  # somebody's, or removed by somebody else
            if sys.platform == "win32":
                left.unlink()
                continue
            handle = os.open(left, os.O_RDWR | os.O_NOFOLLOW)
            try:
                if take(handle, wait=False):
                    left.unlink()
            finally:
                os.close(handle)
