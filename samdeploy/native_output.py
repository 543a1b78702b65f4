"""What libraries print on standard output by themselves, where the answers of commands go."""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_TURN = threading.RLock()


@contextmanager
def kept_output() -> Iterator[list[str]]:
    """Keep what the block prints, in Python or below it; its lines are in the list at the end."""
    lines: list[str] = []
    with _TURN, tempfile.TemporaryFile() as file:
        _flush()
        before = os.dup(1)
        os.dup2(file.fileno(), 1)
        try:
            yield lines
        finally:
            _flush()
            os.dup2(before, 1)
            os.close(before)
            file.seek(0)
            lines += file.read().decode(errors="replace").splitlines()


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()
    # Libraries in C have a buffer of their own.
    library = ctypes.cdll.msvcrt if sys.platform == "win32" else ctypes.CDLL(None)
    library.fflush(None)
