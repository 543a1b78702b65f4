"""A folder that appears whole, in one step, in the place of an earlier one.

It is written inside a hidden stage beside its target:

    .samdeploy-x1y2z3/lock   the target's name; locked for as long as the writing process lives
    .samdeploy-x1y2z3/new    what is being written
    .samdeploy-x1y2z3/old    what was there before, where two folders cannot be exchanged at once

A process that is killed leaves its stage behind, and the lock says that nobody owns it any more.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from samdeploy.errors import InputError
from samdeploy.files import UNFINISHED, output_error
from samdeploy.locks import take
from samdeploy.text import reason, shown

_LOCK = "lock"
#: What a rename finds when another process has just renamed the same folder.
_RACES = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOENT)
_TRIES = 10


@contextmanager
def replaced_folder(target: Path, check: Callable[[Path], None]) -> Iterator[Path]:
    """An empty folder that takes the place of ``target`` when the block ends without error.

    What earlier processes left beside ``target`` when they were killed is removed first.

    Args:
        check: raises where ``target`` exists and must not be replaced; asked before the block and
            again at its end.

    Raises:
        InputError: ``target`` is where this process runs.
        OutputError: it cannot be written to, or the disk is full.
    """
    target = _real(target)
    stage = None
    try:
        check(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        _tidy(target.parent)
        with _stage(target) as stage:
            new = stage / "new"
            new.mkdir()
            yield new
            check(target)
            _place(new, target, stage / "old")
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        if not (stage is None or full or _is_about(error, stage, target)):
            raise  # what the block reads is not ours
        raise output_error(target, error) from error


def _is_about(error: OSError, stage: Path, target: Path) -> bool:
    name = error.filename  # writing to an open file tells none
    if not isinstance(name, (str, bytes)):
        return True
    path = Path(os.fsdecode(name))
    return path == target or path.is_relative_to(stage)


def put_back(target: Path) -> None:
    """Give ``target`` its place again where a process was killed while it replaced it."""
    if not os.path.lexists(target):
        with suppress(OSError, ValueError):
            for stage in _abandoned(target.absolute().parent):
                _put_back(stage)


def _real(target: Path) -> Path:
    """``target`` without links; where it is one, the folder that it means is replaced."""
    try:
        real = target.resolve()
        here = Path.cwd().resolve()
        with suppress(FileNotFoundError):
            real.lstat()  # hours before it is written, a name may turn out to be too long
    except OSError as error:
        raise output_error(target, error) from error
    except (RuntimeError, ValueError) as error:  # links in a circle, a zero byte
        raise InputError(
            f"{shown(str(target))} is no usable path ({reason(error)}); choose another output."
        ) from error
    if here.is_relative_to(real):
        raise InputError(
            f"'{target}' is the folder that this runs in, or above it; choose another output."
        )
    return real


@contextmanager
def _stage(target: Path) -> Iterator[Path]:
    stage, lock = _claim(target)
    try:
        yield stage
    finally:
        lock.close()  # Windows removes no open file
        shutil.rmtree(stage, ignore_errors=True)


def _claim(target: Path) -> tuple[Path, BinaryIO]:
    """A new stage for ``target`` and its lock, which is held."""
    while True:
        stage = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=target.parent))
        with suppress(FileNotFoundError):  # another process took it for an abandoned one
            lock = (stage / _LOCK).open("xb")
            take(lock, wait=True)
            if (stage / _LOCK).exists():
                lock.write(os.fsencode(target.name))
                lock.flush()
                return stage, lock
            lock.close()


def _abandoned(parent: Path) -> Iterator[Path]:
    """The stages in ``parent`` whose processes are gone; each is locked until the next is asked."""
    for stage in sorted(parent.glob(f"{UNFINISHED}*")):
        if stage.is_symlink():
            continue
        with suppress(OSError):
            stage.rmdir()  # only an empty one: killed before it had a lock
        with suppress(OSError), (stage / _LOCK).open("r+b") as lock:
            if take(lock, wait=False):
                yield stage


def _put_back(stage: Path) -> None:
    old, name = stage / "old", os.fsdecode((stage / _LOCK).read_bytes())
    target = stage.parent / name
    if Path(name).name == name and old.is_dir() and not os.path.lexists(target):
        old.rename(target)


def _tidy(parent: Path) -> None:
    for stage in _abandoned(parent):
        with suppress(OSError, ValueError):
            _put_back(stage)
            shutil.rmtree(stage, ignore_errors=True)


def _place(new: Path, target: Path, aside: Path) -> None:
    """Rename ``new`` to ``target``; what is there already gets out of the way."""
    for left in reversed(range(_TRIES)):
        try:
            if not target.exists():
                new.rename(target)
            elif not _exchange(new, target):
                _step_aside(new, target, aside)
            return
        except OSError as error:
            if error.errno not in _RACES or not left:
                raise


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step, so that there is never none; whether that was possible: not
    every system and file system can."""
    paths = os.fsencode(one), os.fsencode(other)
    here, swap = -100, 2  # AT_FDCWD, and what both systems number alike
    if sys.platform == "linux":
        swapping = getattr(ctypes.CDLL(None), "renameat2", None)
        arguments = (here, paths[0], here, paths[1], swap)
    elif sys.platform == "darwin":
        swapping = getattr(ctypes.CDLL(None), "renamex_np", None)
        arguments = (*paths, swap)
    else:
        return False
    return swapping is not None and swapping(*arguments) == 0


def _step_aside(new: Path, target: Path, aside: Path) -> None:
    """The same in two steps; a process that is killed between them leaves ``target`` to
    :func:`put_back`."""
    if aside.exists():  # another process put its own in the place of that
        shutil.rmtree(aside)
    try:
        target.rename(aside)
        new.rename(target)
    except BaseException:
        if aside.exists() and not target.exists():
            aside.rename(target)
        raise
