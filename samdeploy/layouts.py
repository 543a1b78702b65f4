"""Layouts: a model's graphs as the files that another tool opens.

A layout has a flavour for each family of models that its tool takes. A flavour writes the files
from a bundle's graphs, and gives an adapter: the steps that the tool itself takes around them, in
NumPy, which is how the files are compared with the checkpoint (:mod:`samdeploy.exporting.lay_out`).

What was written is recorded beside the files, in ``samdeploy.json``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeAlias

import msgspec
from msgspec import Meta
from numpy.typing import NDArray

from samdeploy.bundle import (
    Bundle,
    FileRecord,
    SourceRecord,
    VerificationRecord,
    check_nothing_foreign,
    is_free,
)
from samdeploy.errors import BundleError, InputError
from samdeploy.folders import replaced_folder
from samdeploy.geometry import Size
from samdeploy.json_files import (
    UnreadableError,
    check_version,
    decode_json,
    encode_json,
    read_regular,
)
from samdeploy.prompts import Prompt
from samdeploy.session import Array

SCHEMA_VERSION = 1
RECORD = "samdeploy.json"
_LONGEST = 1 << 20

#: Points ``[n, 2]`` (x, y) in image pixels, and as many labels as the decoder knows them.
Tokens: TypeAlias = tuple[Array, Array]
#: Indices of our decoder's masks of which the one with the best predicted IoU is an answer.
Candidates: TypeAlias = tuple[int, ...]


class Adapter(Protocol):
    """The steps of a tool around the files of a layout.

    Attributes:
        sizes: (height, width) of images to compare on. Where a tool resizes images in a way of its
            own, those are of a size that it leaves alone.
        provider: what ONNX Runtime runs the files on.
    """

    @property
    def sizes(self) -> tuple[Size, ...]: ...

    @property
    def provider(self) -> str: ...

    def pixels(self, image: NDArray[Any]) -> Array:
        """RGB uint8 ``[H, W, 3]`` to what our encoder takes, float32 ``[1, 3, S, S]`` in 0-255,
        with the pixels that the tool makes of it."""
        ...

    def encode(self, image: NDArray[Any]) -> None:
        """Show it an image, RGB uint8 ``[H, W, 3]``; the prompts that follow are on this one."""
        ...

    def tokens(self, prompt: Prompt) -> Tokens:
        """What the model is asked when the tool's user gives points, a box or both."""
        ...

    def masks(self, prompt: Prompt) -> NDArray[Any]:
        """The masks that the tool has in the end, bool ``[M, H, W]``."""
        ...

    def answers(self, tokens: int) -> tuple[Candidates, ...]:
        """What each of the ``M`` masks is the answer of, to a prompt of so many ``tokens``."""
        ...

    def close(self) -> None:
        """Release the files."""
        ...


@dataclass(frozen=True)
class Flavour:
    """A layout of one family's graphs.

    Attributes:
        write: ``write(bundle, folder)`` writes the tool's files into the empty ``folder``.
        adapter: ``adapter(folder)`` opens them.
        side: of the encoder input that the tool insists on, in pixels.
    """

    write: Callable[[Bundle, Path], None]
    adapter: Callable[[Path], Adapter]
    side: int | None = None


@dataclass(frozen=True)
class Layout:
    """``tool`` with the version whose source was read; ``flavours`` by the name of a family."""

    name: str
    tool: str
    flavours: Mapping[str, Flavour]


class LayoutExporter(Protocol):
    """An exporter with layouts; its options have ``layout``, the name of one or empty."""

    @classmethod
    def find_layout(cls, name: str) -> Layout:
        """Raises :class:`InputError` where there is none of that name."""
        ...


class LayoutRecord(msgspec.Struct, frozen=True):
    """``verification`` is of the files as the tool uses them, ``graphs`` that of the same graphs
    before the tool's names and steps were put around them."""

    schema_version: Annotated[int, Meta(ge=1)]
    layout: str
    tool: str
    family: str
    architecture: str
    image_size: int
    format: str
    precision: str
    files: tuple[FileRecord, ...]
    source: SourceRecord
    options: dict[str, Any]
    tools: dict[str, str]
    verification: VerificationRecord
    graphs: VerificationRecord
    created: str


def is_layout(folder: str | Path) -> bool:
    """Whether it is a folder that a layout was written into."""
    return os.path.isfile(os.path.join(folder, RECORD))  # noqa: PTH113, PTH118 - any name is asked


def read_record(folder: Path) -> LayoutRecord:
    """What was written there.

    Raises:
        BundleError: it cannot be read, or is newer.
    """
    path = folder / RECORD
    try:
        content = read_regular(path, _LONGEST)
        check_version(path, content, SCHEMA_VERSION, BundleError, " or export the layout again")
        return decode_json(content, LayoutRecord)
    except UnreadableError as error:
        raise BundleError(
            f"'{path}' is not a valid record ({error}); export the layout again."
        ) from error


def write_record(folder: Path, record: LayoutRecord) -> None:
    (folder / RECORD).write_bytes(encode_json(record))


def new_layout(folder: Path) -> AbstractContextManager[Path]:
    """An empty folder that becomes the layout's when the block ends without error; an earlier
    layout of ours is replaced, and nothing else. See :func:`replaced_folder`."""
    return replaced_folder(folder, _check_replaceable)


def _check_replaceable(folder: Path) -> None:
    if is_free(folder):
        return
    if not is_layout(folder):
        raise InputError(
            f"'{folder}' exists and is no layout of ours; choose another output or remove it."
        )
    check_nothing_foreign(folder, read_record(folder).files, (RECORD,))
