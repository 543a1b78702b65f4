"""The journal of a run: one line of JSON per image, on the disk before the next image counts.

A line of settings comes first, and again where they changed: records belong to the settings above
them. A run that is killed leaves at most one line unfinished, which is cut off when the journal is
opened again; the image it was about is done once more.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from samdeploy.annotation.store import refused
from samdeploy.closing import Closing
from samdeploy.detections import MOST_CLASSES
from samdeploy.errors import InputError
from samdeploy.text import shown

if sys.platform != "win32":
    import fcntl

NAME = "journal.jsonl"

#: Bytes; an image of half a million objects has a shorter line.
_LONGEST_LINE = 4 << 20
_SETTINGS = b'{"settings":'

_FileName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^/\x00]+$")]
_Output: TypeAlias = Annotated[str, Meta(min_length=1, max_length=1024, pattern=r"^[^\x00]+$")]
_ClassId: TypeAlias = Annotated[int, Meta(ge=0, lt=MOST_CLASSES)]
_Digest: TypeAlias = Annotated[str, Meta(max_length=64)]


class Record(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The outcome of one image.

    Attributes:
        image: its file name.
        outputs: the files written for it, relative to the output folder.
        classes: class ids of its objects, one per object.
        error: why it was left out; empty when it was not.
        image_digest, boxes_digest: of what it was made from: the file, and its boxes.
        dropped: boxes that gave no object.
    """

    image: _FileName
    outputs: Annotated[tuple[_Output, ...], Meta(max_length=16)] = ()
    classes: tuple[_ClassId, ...] = ()
    error: str = ""
    image_digest: _Digest = ""
    boxes_digest: _Digest = ""
    dropped: Annotated[int, Meta(ge=0)] = 0

    def __post_init__(self) -> None:
        for name in map(Path, self.outputs):
            if name.is_absolute() or name.drive or ".." in name.parts:
                raise ValueError(f"output {shown(str(name))} is outside the folder")


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    settings: dict[str, Any]


class Journal(Closing):
    """The journal in ``folder``, begun with ``settings`` (JSON's values or NumPy's) or resumed.

    Args:
        fixed: names of settings that must be those that it was begun with.

    Attributes:
        records: the last record of each image, of those made with these settings.
        earlier: the last record of each of the other images.
        damaged: lines that could not be read, and were removed.

    Raises:
        InputError: it was begun with other ``fixed`` settings, its first line is damaged, or
            another run holds it.
        OutputError: it cannot be written to.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, Any], fixed: frozenset[str] = frozenset()
    ) -> None:
        self._path, self._root = folder / NAME, folder.parent
        self.records: dict[str, Record] = {}
        self.earlier: dict[str, Record] = {}
        self.damaged = 0
        self._headers: list[dict[str, Any]] = []
        self._current = False  # the last of them says what ``settings`` say
        self._header_of: dict[str, int] = {}  # of the images in ``earlier``
        self._settings = msgspec.json.decode(msgspec.json.encode(settings, enc_hook=_plain))
        try:
            # Without a buffer, so that nothing of a line that failed is written later.
            self._file = self._path.open("a+b", buffering=0)
        except OSError as error:
            raise refused(self._root, error) from error
        try:
            self._lock()
            self._read()
            if self._headers:
                self._check(fixed)
            if not self._current:
                self._append(_Header(self._settings))
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        self._file.close()

    def last(self, image: str) -> Record | None:
        """The last record of an image, whatever settings it was made with."""
        return self.records.get(image) or self.earlier.get(image)

    def changes(self, image: str) -> str:
        """How the settings differ from those of an image in ``earlier``."""
        return "; ".join(_differences(self._headers[self._header_of[image]], self._settings))

    def append(self, record: Record) -> None:
        """Add a record; it is on the disk when this returns.

        Raises:
            OutputError: it cannot be; nothing of it is left.
        """
        self._append(record)
        self.records[record.image] = record
        self.earlier.pop(record.image, None)

    def _append(self, line: _Header | Record) -> None:
        self._write(msgspec.json.encode(line) + b"\n")

    def _write(self, content: bytes) -> None:
        end = self._file.seek(0, os.SEEK_END)
        try:
            left = memoryview(content)
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            self._file.truncate(end)
            raise refused(self._root, error) from error

    def _lock(self) -> None:
        """Nobody else writes here meanwhile; the system frees it however this process ends."""
        if sys.platform == "win32":
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"another run is writing to '{self._root}'; wait for it or choose another "
                "output_dir."
            ) from error

    def _read(self) -> None:
        """Take what is there; lines that are damaged go, and so does an unfinished last one."""
        good = 0  # bytes, up to the first line that goes
        after: list[bytes] = []  # good lines after that one
        broken = torn = False
        for line in self._lines():
            torn = not line.endswith(b"\n") and len(line) < _LONGEST_LINE
            if torn or not self._take(line):
                if not self._headers and not torn:
                    raise InputError(
                        f"journal '{self._path}' is damaged in its first line, which says what the "
                        "run was; choose another output_dir."
                    )
                broken = True
                self.damaged += not torn
            elif broken:
                after.append(line)
            else:
                good += len(line)
        if broken:
            self._file.truncate(good)
            if after:
                self._write(b"".join(after))

    def _lines(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            while line := file.readline(_LONGEST_LINE):
                yield line

    def _take(self, line: bytes) -> bool:
        """Whether a line is what it should be, and is kept."""
        try:
            if not self._headers or line.startswith(_SETTINGS):
                settings = msgspec.json.decode(line, type=_Header).settings
                self._headers.append(settings)
                self._current = not _differences(settings, self._settings)
                return True
            record = msgspec.json.decode(line, type=Record)
        except (ValueError, msgspec.MsgspecError, RecursionError):
            return False
        both = self.records, self.earlier
        kept, other = both if self._current else both[::-1]
        other.pop(record.image, None)
        kept[record.image] = record
        self._header_of[record.image] = len(self._headers) - 1
        return True

    def _check(self, fixed: frozenset[str]) -> None:
        before = {name: self._headers[-1].get(name) for name in fixed}
        changed = _differences(before, {name: self._settings.get(name) for name in fixed})
        if changed:
            raise InputError(
                f"'{self._root}' was begun as another data set ({'; '.join(changed)}); keep what "
                "it was, or choose another output_dir."
            )


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], of: str = "") -> list[str]:
    """A sentence for each setting that differs, those inside a setting by themselves. One that is
    not there is ``None``: journals of earlier versions lack what came later."""
    found = []
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, f"{of}{name} ")
            continue
        both = shown(old), shown(new)
        # Long values may differ where they are not shown.
        found.append(
            f"{of}{name} changed"
            if both[0] == both[1]
            else f"{of}{name} was {both[0]} and is {both[1]}"
        )
    return found


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays as Python's."""
    return value.tolist()


def is_begun(folder: Path) -> bool:
    """Whether a run began in ``folder`` (the state folder of an output)."""
    return (folder / NAME).is_file()
