"""The folder that a run writes: every file whole or not there, and a place for the run's own."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from samdeploy.errors import InputError, OutputError

#: What a run keeps for itself, inside the output folder: journal, parts, unfinished files.
STATE = ".samdeploy"


#: Errors that are about the name of a file and not about the folder that it is to be in.
_NAMES = frozenset({errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL})


def refused(root: Path, error: OSError) -> OutputError:
    """The error for an output folder ``root`` that gave ``error``."""
    return OutputError(
        f"'{root}' cannot be written to ({error.strerror or error}); free it or choose another "
        "output_dir."
    )


class Store:
    """Writes files below ``root``; names are relative to it, with forward slashes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = root / STATE
        self._unfinished = self.state / "unfinished"

    def create(self) -> None:
        """Make the folder.

        Raises:
            OutputError: it cannot be written to.
        """
        try:
            self._unfinished.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise refused(self.root, error) from error

    def sweep(self) -> None:
        """Remove what a killed run left unfinished; nobody else may be writing."""
        shutil.rmtree(self._unfinished, ignore_errors=True)
        self.create()

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """A file that is called ``name`` once it is complete and on the disk.

        Raises:
            OutputError: the folder cannot be written to, or the disk is full.
            InputError: the file system has no such names.
        """
        target = self.root / name
        temporary: str | None = None
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self._unfinished)
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(target)
        except OSError as error:
            raise self._reason(name, error) from error
        finally:
            if temporary is not None:
                Path(temporary).unlink(missing_ok=True)

    def write(self, name: str, content: bytes) -> str:
        """Write a whole file; returns its name."""
        with self.writing(name) as file:
            file.write(content)
        return name

    def link(self, source: Path, name: str) -> str:
        """Another name for the file ``source``: a hard link, or a copy where there is none.

        Raises:
            OutputError: the folder cannot be written to, or the disk is full.
            InputError: ``source`` is gone.
        """
        target = self.root / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(dir=self._unfinished)) / "image"
            try:
                # A link to a symbolic link would lead elsewhere from its new place.
                os.link(source.resolve(), temporary)
            except OSError:  # another file system, or one without links
                shutil.copyfile(source, temporary)
            temporary.replace(target)
            # Two names of one file: the rename above leaves both.
            temporary.unlink(missing_ok=True)
            with suppress(OSError):
                temporary.parent.rmdir()
        except OSError as error:
            if not source.is_file():
                raise InputError(
                    f"image '{source}' is gone; it was deleted or renamed meanwhile."
                ) from error
            raise self._reason(name, error) from error
        return name

    def remove(self, names: Iterable[str]) -> None:
        """Delete files, those that are not there included.

        Raises:
            OutputError: the folder cannot be written to.
        """
        try:
            for name in names:
                (self.root / name).unlink(missing_ok=True)
        except OSError as error:
            raise refused(self.root, error) from error

    def _reason(self, name: str, error: OSError) -> InputError:
        if error.errno in _NAMES:
            return InputError(
                f"a file cannot be called '{name}' here ({error.strerror}); give the image another "
                "name."
            )
        return refused(self.root, error)
