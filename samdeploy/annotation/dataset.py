"""Where each file of the data set lies.

Without a split, labels lie in the output folder itself, as Ultralytics' ``auto_annotate`` leaves
them. With one, it is a data set of its own: ``images/train``, ``images/val`` (hard links) and the
labels likewise.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from samdeploy.annotation.classes import complete_names
from samdeploy.annotation.journal import Record
from samdeploy.annotation.store import Store

TRAIN, VAL = "train", "val"


@dataclass(frozen=True)
class Dataset:
    """The data set, as every writer needs to know it.

    Attributes:
        store: writes the files.
        names, category_ids, image_ids: see :class:`~samdeploy.annotation.boxes.BoxSource`.
        images: where each image is, by its name.
        splits: image name to ``train`` or ``val``; empty without a split.
        simplify: largest distance in pixels that simplification may move an outline.
    """

    store: Store
    names: Mapping[int, str]
    category_ids: Mapping[int, int] = field(default_factory=dict)
    image_ids: Mapping[str, int] = field(default_factory=dict)
    images: Mapping[str, Path] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)
    simplify: float = 0.0

    def place(self, image: str, suffix: str, kind: str, flat: bool = False) -> str:
        """The name of an image's own file; ``flat``: without a split, in no folder of its kind."""
        folders = [kind, self.splits[image]] if self.splits else [] if flat else [kind]
        return str(PurePosixPath(*folders, Path(image).stem + suffix))

    def image_place(self, image: str) -> str:
        """The name of the image itself in a split data set."""
        return f"images/{self.splits[image]}/{image}"

    @property
    def sources(self) -> list[Path]:
        """The folders that the images are in."""
        return sorted({path.parent for path in self.images.values()})

    def file_name(self, image: str) -> str:
        """An image's name in COCO: from the folder that all images are in, or that of its split."""
        if self.splits or image not in self.images:
            return image
        return self.images[image].relative_to(self._common).as_posix()

    @cached_property
    def _common(self) -> Path:
        return Path(os.path.commonpath(self.sources))

    def numbered(self, records: Sequence[Record]) -> dict[str, int]:
        """COCO's ids of images: those that the source has; the others come after them. No two are
        alike in the whole data set, splits included."""
        last = max(self.image_ids.values(), default=0)
        new = (record.image for record in records if record.image not in self.image_ids)
        return {**self.image_ids, **{name: last + i for i, name in enumerate(new, 1)}}

    def image_from(self, source: Path, label: str) -> str:
        """The path of an image from the folder of its ``label`` file."""
        target = self.store.root / self.image_place(source.name) if self.splits else source
        folder = (self.store.root / label).parent
        return relative(target, folder)

    def categories(self, records: Iterable[Record]) -> dict[int, str]:
        """Names of all classes, those that only turned up in ``records`` included."""
        return complete_names(self.names, {index for each in records for index in each.classes})

    def category_id(self, class_id: int) -> int:
        """A class in COCO's counting; those that the source does not know come after its own."""
        last = max(self.category_ids.values(), default=0)
        return self.category_ids.get(class_id, last + class_id + 1)

    def parts(self, records: Sequence[Record]) -> dict[str, list[Record]]:
        """Records by split, under ``""`` without one."""
        if not self.splits:
            return {"": list(records)}
        return {
            split: [record for record in records if self.splits[record.image] == split]
            for split in (TRAIN, VAL)
        }


def relative(target: Path, folder: Path) -> str:
    """``target`` as seen from ``folder``, with forward slashes; absolute where there is no such way
    (another drive, or a symbolic link on it, from whose target ``..`` leads elsewhere)."""
    with suppress(ValueError):
        way = Path(os.path.relpath(target.absolute(), folder.absolute()))
        if (folder / way).resolve() == target.resolve():
            return way.as_posix()
    return target.absolute().as_posix()


def make_splits(images: Sequence[str], val: float) -> dict[str, str]:
    """``train`` or ``val`` for each image: a share ``val`` of them, at least one on each side,
    chosen by a hash of the names, so that it depends on neither order nor chance."""
    if val <= 0:
        return {}
    ranked = sorted(images, key=lambda name: hashlib.sha256(name.encode()).digest())
    count = min(max(1, round(val * len(images))), len(images) - 1)
    return {name: VAL if rank < count else TRAIN for rank, name in enumerate(ranked)}
