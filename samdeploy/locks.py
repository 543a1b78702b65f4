"""Locks between processes, which the system frees however a process ends."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


def take(file: BinaryIO | int, *, wait: bool) -> bool:
    """Whether this process has the lock of ``file``, or of a handle, now. False also where the file
    system has no locks."""
    handle = file if isinstance(file, int) else file.fileno()
    while True:
        try:
            if sys.platform == "win32":
                msvcrt.locking(handle, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if wait and error.errno == errno.EDEADLK:  # Windows waits for ten seconds
                continue
            return False
        return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Run the block while no other process runs one with ``path``, a file that it makes."""
    while True:
        with path.open("ab") as file:
            held = take(file, wait=True)
            if held and not _is_still(path, file):
                continue  # whoever had it before has removed it
            try:
                yield
            finally:
                with suppress(OSError):  # Windows removes no open file
                    path.unlink()
            return


def _is_still(path: Path, file: BinaryIO) -> bool:
    with suppress(OSError):
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    return False
