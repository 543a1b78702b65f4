"""Boxes from a folder of YOLO label files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from samdeploy.annotation.digests import file_digest
from samdeploy.annotation.matching import describe, match
from samdeploy.annotation.row_layout import Row, find_layout
from samdeploy.detections import Detections
from samdeploy.errors import InputError
from samdeploy.masks.yolo_labels import read_yolo_boxes
from samdeploy.text_files import read_text

_SUFFIX = ".txt"
#: Where labelling tools keep the names of the classes.
_NAMES = "classes.txt"
_DATA_SETS = ("data.yaml", "data.yml", "dataset.yaml")


class YoloLabels:
    """A folder of YOLO label files, one per image and called like it, in any case; an image without
    a file has no object."""

    names: Mapping[int, str] = {}
    category_ids: Mapping[int, int] = {}
    image_ids: Mapping[str, int] = {}

    def __init__(self, folder: Path, images: Sequence[Path], unmatched: float) -> None:
        self._folder = folder.absolute()
        given = sorted(
            path.name
            for path in self._folder.iterdir()
            if path.suffix.lower() == _SUFFIX and path.is_file()
        )
        origin = f"boxes={folder}"
        matches = match(images, given, origin, stems=True)
        if not any(image.stem.lower() == Path(_NAMES).stem for image in images):
            matches = matches.without(_NAMES)
        self.notices: Sequence[str] = describe(
            matches, len(images), origin, ("label file", "label files"), unmatched
        )
        self._labels = matches.of
        near = [self._folder, *self._folder.parents[:2]]
        self._layout = find_layout(
            self._rows(), [place / name for place in near for name in _DATA_SETS]
        )
        self.facts: Mapping[str, object] = {"layout": self._layout.value}

    def digest(self, path: Path) -> str:
        label = self._label(path)
        if label is None:
            return ""
        try:
            return file_digest(label)
        except OSError as error:
            raise _unreadable(label) from error

    def find(self, path: Path, image: NDArray[np.uint8]) -> Detections:
        label = self._label(path)
        size = int(image.shape[0]), int(image.shape[1])
        if label is None:
            return read_yolo_boxes("", size, path.name)
        try:
            text = read_text(label)
        except (OSError, UnicodeError) as error:
            raise _unreadable(label) from error
        return read_yolo_boxes(text, size, label.name, self._layout)

    def _label(self, image: Path) -> Path | None:
        name = self._labels.get(image.name)
        return None if name is None else self._folder / name

    def _rows(self) -> Iterator[tuple[str, Row]]:
        """Rows that can be read; one that cannot is an error of its own image later."""
        for name in self._labels.values():
            try:
                lines = read_text(self._folder / name).splitlines()
            except (OSError, UnicodeError):
                continue
            for number, line in enumerate(lines, 1):
                try:
                    row = np.array(line.split()[1:], np.float64)
                except ValueError:
                    continue
                if len(row):
                    yield f"'{name}' line {number}", row


def _unreadable(label: Path) -> InputError:
    return InputError(f"label '{label}' cannot be read; expected a text file.")
