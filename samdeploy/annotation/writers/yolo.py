"""YOLO segmentation: a text file per image, and ``data.yaml``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import ClassVar

from samdeploy.annotation.dataset import TRAIN, VAL, Dataset, relative
from samdeploy.annotation.instances import AnnotatedImage
from samdeploy.annotation.journal import Record
from samdeploy.masks.yolo_labels import mask_to_yolo_line
from samdeploy.options import NoOptions


class YoloWriter:
    """One line per object, see :mod:`samdeploy.masks.yolo_labels`; an image without objects has an
    empty file, which trainers take for background."""

    Options: ClassVar[type[NoOptions]] = NoOptions

    def __init__(self, dataset: Dataset, options: NoOptions) -> None:
        self._dataset = dataset

    def write(self, item: AnnotatedImage) -> list[str]:
        lines = [
            mask_to_yolo_line(one.rle.decode(), one.class_id, self._dataset.simplify)
            for one in item.instances
        ]
        text = "".join(f"{line}\n" for line in lines)
        place = self._dataset.place(item.path.name, ".txt", "labels", flat=True)
        return [self._dataset.store.write(place, text.encode())]

    def finish(self, records: Sequence[Record]) -> None:
        # Quoted as in JSON, which YAML reads the same way.
        names = [
            f"  {index}: {json.dumps(name, ensure_ascii=False)}"
            for index, name in self._dataset.categories(records).items()
        ]
        folders = [f"{split}: {self._images(split)}" for split in (TRAIN, VAL)]
        text = "\n".join([*folders, "names:", *names]) + "\n"
        self._dataset.store.write("data.yaml", text.encode())

    def _images(self, split: str) -> str:
        """Where a trainer looks for images, from ``data.yaml``. Without a split it is told the same
        folders for both, and finds the labels if they lie in ``labels`` beside ``images``."""
        if self._dataset.splits:
            return f"images/{split}"
        root = self._dataset.store.root
        return json.dumps([relative(folder, root) for folder in self._dataset.sources])
