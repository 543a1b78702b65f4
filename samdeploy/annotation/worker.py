"""The three steps of one image, and everything they need, opened once per process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samdeploy.annotation.boxes import BoxSource
from samdeploy.annotation.dataset import Dataset
from samdeploy.annotation.instances import AnnotatedImage, annotate_image
from samdeploy.annotation.journal import Record
from samdeploy.annotation.previews import draw_preview
from samdeploy.annotation.writers import find_writer
from samdeploy.errors import OutputError, SamDeployError
from samdeploy.images import load_image
from samdeploy.sam import SAM


@dataclass(frozen=True)
class Steps:
    """How an image is treated; see :func:`samdeploy.auto_annotate`."""

    format: str = "yolo"
    classes: frozenset[int] | None = None
    min_area: int = 0
    previews: bool = False
    zoom: bool = False
    whole_image: Mapping[str, Any] = field(default_factory=dict)


class Worker:
    """Reads, annotates and writes single images. What it writes depends on the image alone, so an
    image may be done twice, by anyone. Reading and writing may go on in other threads."""

    def __init__(self, sam: SAM, source: BoxSource, dataset: Dataset, steps: Steps) -> None:
        self._sam = sam
        self._source = source
        self._dataset = dataset
        self._steps = steps
        self._writer = find_writer(steps.format)(dataset)

    def read(self, path: Path) -> NDArray[np.uint8]:
        """RGB uint8 ``[H, W, 3]``; raises :class:`InputError` for a broken file."""
        return load_image(path)

    def annotate(self, path: Path, image: NDArray[np.uint8]) -> AnnotatedImage:
        steps = self._steps
        return annotate_image(
            self._sam,
            self._source,
            path,
            image,
            classes=steps.classes,
            min_area=steps.min_area,
            zoom=steps.zoom,
            whole_image=steps.whole_image,
        )

    def write(self, item: AnnotatedImage) -> Record:
        dataset, name = self._dataset, item.path.name
        outputs = self._writer.write(item)
        if dataset.splits:
            outputs.append(dataset.store.link(item.path, dataset.image_place(name)))
        if self._steps.previews:
            picture = draw_preview(item, dataset.names)
            outputs.append(dataset.store.write(preview_place(name), picture))
        classes = tuple(one.class_id for one in item.instances)
        return Record(name, tuple(outputs), classes)

    def process(self, path: Path) -> Record:
        """All three steps in a row."""
        try:
            return self.write(self.annotate(path, self.read(path)))
        except OutputError:
            raise
        except SamDeployError as error:
            return failed(path, error)


def failed(path: Path, error: SamDeployError) -> Record:
    """The record of an image that had to be left out."""
    return Record(path.name, error=str(error))


def preview_place(image: str) -> str:
    return f"previews/{Path(image).stem}.jpg"
