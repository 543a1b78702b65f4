"""What a label format implements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from samdeploy.annotation.dataset import Dataset
from samdeploy.annotation.instances import AnnotatedImage
from samdeploy.annotation.journal import Record


class Writer(Protocol):
    """Writes one image at a time, so that a run can stop after any of them and memory stays flat.
    A protocol, so that a format needs no base class of ours."""

    def __init__(self, dataset: Dataset) -> None: ...

    def write(self, item: AnnotatedImage) -> list[str]:
        """Write what belongs to one image, the same bytes however often; returns the files' names.

        Raises:
            InputError: the format cannot hold this image's objects.
        """
        ...

    def finish(self, records: Sequence[Record]) -> None:
        """Write what is about the whole data set, from the records of its images, sorted."""
        ...
