"""What a run has done: one line of JSON per image, on the disk before the next image counts.

The first line holds the settings. A run that is killed leaves at most one line unfinished, which is
cut off when the journal is opened again; the image it was about is done once more.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from samdeploy.errors import InputError
from samdeploy.text import shown

if sys.platform != "win32":
    import fcntl

NAME = "journal.jsonl"


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one image.

    Attributes:
        image: its file name.
        outputs: the files written for it, relative to the output folder.
        classes: class ids of its objects, one per object.
        error: why it was left out; empty when it was not.
    """

    image: str
    outputs: tuple[str, ...] = ()
    classes: tuple[int, ...] = ()
    error: str = ""


class _Header(msgspec.Struct, frozen=True):
    settings: dict[str, Any]


class Journal:
    """The journal in ``folder``, begun with ``settings`` (plain JSON values) or taken up again.

    Attributes:
        records: the last record of each image.

    Raises:
        InputError: it was begun with other settings, is damaged, or another run holds it.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._path = folder / NAME
        try:
            self._file = self._path.open("a+b")
        except OSError as error:
            raise InputError(
                f"'{folder.parent}' cannot be written to ({error.strerror}); choose another "
                "output_dir."
            ) from error
        try:
            self._lock()
            header, self.records = self._read()
            if header is None:
                self._append(_Header(dict(settings)))
            else:
                self._compare(header, settings)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def append(self, record: Record) -> None:
        """Add a record; it is on the disk when this returns."""
        self._append(record)
        self.records[record.image] = record

    def _append(self, line: _Header | Record) -> None:
        self._file.write(msgspec.json.encode(line) + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def _lock(self) -> None:
        """Nobody else writes here meanwhile; the system frees it however this process ends."""
        if sys.platform == "win32":
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"another run is writing to '{self._path.parent.parent}'; wait for it or choose "
                "another output_dir."
            ) from error

    def _read(self) -> tuple[_Header | None, dict[str, Record]]:
        """Header and records; an unfinished last line is cut off."""
        self._file.seek(0)
        header: _Header | None = None
        records: dict[str, Record] = {}
        good = 0  # bytes
        torn: Exception | None = None
        for line in self._file:
            if torn is not None:
                raise InputError(
                    f"journal '{self._path}' is damaged at byte {good}; choose another output_dir."
                ) from torn
            try:
                if not line.endswith(b"\n"):
                    raise ValueError("no end of line")
                if header is None:
                    header = msgspec.json.decode(line, type=_Header)
                else:
                    record = msgspec.json.decode(line, type=Record)
                    records[record.image] = record
                good += len(line)
            except (ValueError, msgspec.MsgspecError) as error:
                torn = error
        self._file.truncate(good)
        return header, records

    def _compare(self, header: _Header, settings: Mapping[str, Any]) -> None:
        now = msgspec.json.decode(msgspec.json.encode(settings))
        for name in sorted({*header.settings, *now}):
            before, after = header.settings.get(name), now.get(name)
            if before != after:
                raise InputError(
                    f"'{self._path.parent.parent}' was begun with {name}={shown(before)}, now it "
                    f"is {shown(after)}; keep it, or choose another output_dir."
                )


def is_begun(folder: Path) -> bool:
    """Whether a run began in ``folder`` (the state folder of an output)."""
    return (folder / NAME).is_file()
