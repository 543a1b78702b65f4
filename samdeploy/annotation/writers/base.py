"""The protocol that a label format implements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

from samdeploy.annotation.dataset import Dataset
from samdeploy.annotation.instances import AnnotatedImage
from samdeploy.annotation.journal import Record


class Writer(Protocol):
    """Writes one image at a time, so that a run can stop after any of them and memory stays flat.
    A protocol, so that a format needs no base class of ours.

    ``Options`` are a frozen dataclass whose fields, made with :func:`samdeploy.options.option`, can
    be asked of the format alone: arguments of ``auto_annotate`` and of the command line. A format
    without any has :class:`~samdeploy.options.NoOptions`.

    A format that holds pixels says so by a function ``outlines(options) -> bool`` beside these;
    ``simplify``, which moves outlines, is refused where it answers False.
    """

    Options: ClassVar[type[Any]]

    def __init__(self, dataset: Dataset, options: Any) -> None:
        """Several are made of a data set, one in each process; ``options`` are an instance of
        ``Options``."""
        ...

    def write(self, item: AnnotatedImage) -> list[str]:
        """Write what belongs to one image, the same bytes however often; returns the files' names.

        Raises:
            InputError: the format cannot hold this image's objects.
        """
        ...

    def finish(self, records: Sequence[Record]) -> None:
        """Write what is about the whole data set, from the records of its images, sorted."""
        ...
