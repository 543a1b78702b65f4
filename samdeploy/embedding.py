"""An encoded image."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO
from zipfile import ZIP_STORED, ZipFile

import numpy as np
from numpy.typing import NDArray

from samdeploy.errors import InputError
from samdeploy.files import atomic_path, check_file
from samdeploy.geometry import Transform
from samdeploy.resident import freeze
from samdeploy.session import Array, Session
from samdeploy.text import reason, shown

#: Of an image whose masks could still be made.
_MOST_PIXELS = 2**31
#: What is stored beside the tensors: the transform.
_SIZES = ("original_size", "input_size", "image_size", "one_step")


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class Embedding:
    """One image after the encoder; prompts are decoded from it as often as wanted.

    Attributes:
        tensors: what the encoder answered, by name, read-only: a runtime may keep an array on its
            device for as long as the same one is decoded from (:mod:`samdeploy.resident`).
        transform: how the image was resized.
        image: the RGB uint8 image, kept for drawing; not saved.
    """

    tensors: Mapping[str, Array]
    transform: Transform
    image: NDArray[np.uint8] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        # Views: the caller's arrays stay as they are.
        tensors = {name: freeze(array.view()) for name, array in self.tensors.items()}
        object.__setattr__(self, "tensors", MappingProxyType(tensors))

    @property
    def image_embeddings(self) -> NDArray[np.float32]:
        """SAM's features, ``[1, C, S/16, S/16]`` float32."""
        return self.tensors["image_embeddings"]

    @property
    def original_size(self) -> tuple[int, int]:
        """(height, width) of the image."""
        return self.transform.original_size

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the image inside the encoder input, without padding."""
        return self.transform.input_size

    @property
    def low_res_side(self) -> int:
        """Side of low-res logits, ``S/4``."""
        return 4 * int(self.image_embeddings.shape[-1])

    def feeds(self, graph: Session) -> dict[str, Array]:
        """Those of its tensors that ``graph`` takes."""
        names = (spec.name for spec in graph.inputs)
        return {name: self.tensors[name] for name in names if name in self.tensors}

    def save(self, path: str | Path) -> None:
        """Write an ``.npz`` file, whole or not at all."""
        path = Path(path)
        arrays: dict[str, Any] = {name: getattr(self.transform, name) for name in _SIZES}
        arrays |= self.tensors
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> Embedding:
        """Read what :meth:`save` wrote; no pickled content is accepted.

        Raises:
            InputError: the file is missing or not an embedding.
        """
        path = check_file(path, "embedding")
        try:
            # Opened here: NumPy leaves a damaged archive open.
            with path.open("rb") as file:
                _check_archive(file)
                with np.load(file, allow_pickle=False) as stored:
                    tensors = {name: stored[name] for name in stored if name not in _SIZES}
                    sizes = {name: stored[name].tolist() for name in _SIZES if name in stored}
            transform = _transform(**sizes)
            _check_tensors(tensors, transform.image_size)
        except Exception as error:  # a file of somebody else's fails in any way
            raise InputError(
                f"'{path}' is not a saved embedding ({reason(error)}); expected a file written by "
                "Embedding.save."
            ) from error
        return cls({name: freeze(array) for name, array in tensors.items()}, transform)


def _check_archive(file: BinaryIO) -> None:
    """Raise :class:`ValueError` for an archive that would grow: ours are not compressed."""
    with ZipFile(file) as archive:
        members = archive.infolist()
    content = sum(member.file_size for member in members)
    if content > file.seek(0, os.SEEK_END) or any(m.compress_type != ZIP_STORED for m in members):
        raise ValueError("its content is compressed")
    file.seek(0)


def _transform(
    original_size: Any, image_size: Any, input_size: Any = None, one_step: Any = False
) -> Transform:
    """The transform of what is stored. Files without ``input_size`` are older than any other way to
    resize than by the longer side, and those without ``one_step`` than any of one step."""
    height, width = original_size
    if not _are_sides(height, width, image_size) or height * width > _MOST_PIXELS:
        raise ValueError(
            f"an image of {shown(original_size)} in an input of {shown(image_size)} pixels"
        )
    if input_size is None:
        return Transform.fit((height, width), image_size)
    rows, columns = input_size
    if not _are_sides(rows, columns) or max(rows, columns) > image_size:
        raise ValueError(f"an image of {shown(input_size)} in an input of {image_size} pixels")
    if not isinstance(one_step, bool):
        raise ValueError(f"one_step {shown(one_step)}")
    return Transform((height, width), (rows, columns), image_size, one_step)


def _are_sides(*values: Any) -> bool:
    return all(type(value) is int and value >= 1 for value in values)


def _check_tensors(tensors: Mapping[str, NDArray[Any]], image_size: int) -> None:
    if not tensors:
        raise ValueError("no features")
    for name, array in tensors.items():
        if array.dtype != np.float32:
            raise ValueError(f"'{name}' of {array.dtype}")
        if not np.isfinite(array).all():
            raise ValueError(f"'{name}' is not finite")
    cells = image_size // 16
    features = tensors.get("image_embeddings", np.zeros((1, 0, cells, cells)))
    if features.ndim != 4 or len(features) != 1 or features.shape[2:] != (cells, cells):
        raise ValueError(f"features of shape {list(features.shape)} for {image_size} pixels")
