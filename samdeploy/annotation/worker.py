"""The three steps of one image, and everything they need, opened once per process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from samdeploy.annotation.boxes import BoxSource
from samdeploy.annotation.dataset import Dataset
from samdeploy.annotation.digests import file_digest
from samdeploy.annotation.instances import AnnotatedImage, ReadImage, annotate_image
from samdeploy.annotation.journal import Record
from samdeploy.annotation.previews import draw_preview
from samdeploy.annotation.steps import Steps
from samdeploy.annotation.writers import find_writer
from samdeploy.errors import OutputError, SamDeployError
from samdeploy.images import load_image
from samdeploy.sam import SAM
from samdeploy.text import as_utf8, reason

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")


class Worker:
    """Reads, annotates and writes single images. What it writes depends on the image alone, so an
    image may be done twice, by anyone. Reading and writing may go on in other threads."""

    def __init__(self, sam: SAM, source: BoxSource, dataset: Dataset, steps: Steps) -> None:
        self._sam = sam
        self._source = source
        self._dataset = dataset
        self._steps = steps
        self._writer = find_writer(steps.format)(dataset, steps.format_options)

    def read(self, path: Path) -> ReadImage:
        # Digests first: what changes in between is seen as changed by the next run.
        digests = file_digest(path), self._source.digest(path)
        return ReadImage(path, load_image(path, options=self._steps.image_options), *digests)

    def annotate(self, image: ReadImage) -> AnnotatedImage:
        return annotate_image(self._sam, self._source, image, self._steps)

    def write(self, item: AnnotatedImage) -> Record:
        dataset, name = self._dataset, item.path.name
        outputs = self._writer.write(item)
        if dataset.splits:
            outputs.append(dataset.store.link(item.path, dataset.image_place(name)))
        if self._steps.previews:
            picture = draw_preview(item, dataset.names)
            outputs.append(dataset.store.write(preview_place(name), picture))
        return Record(
            name,
            tuple(outputs),
            tuple(one.class_id for one in item.instances),
            image_digest=item.source.image_digest,
            boxes_digest=item.source.boxes_digest,
            dropped=item.dropped,
        )


def attempt(step: Callable[[_Given], _Made], path: Path, given: _Given | Record) -> _Made | Record:
    """Return what ``step`` makes of ``given``, or the record of an image that has to be left out:
    whatever is wrong with one image, the others go on. The record of an earlier step is passed on.

    Raises:
        OutputError: not this image's fault.
    """
    if isinstance(given, Record):
        return given
    try:
        return step(given)
    except OutputError:
        raise
    except SamDeployError as error:
        return Record(path.name, error=as_utf8(str(error)))
    except Exception as error:
        told = f"unexpected {type(error).__name__}: {reason(error)}"
        return Record(path.name, error=as_utf8(told))


def preview_place(image: str) -> str:
    return f"previews/{Path(image).stem}.jpg"
