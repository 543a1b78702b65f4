"""An encoded image."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import ZIP_STORED, ZipFile

import numpy as np
from numpy.typing import NDArray

from samdeploy.errors import InputError
from samdeploy.files import atomic_path, check_file
from samdeploy.geometry import Transform
from samdeploy.resident import freeze
from samdeploy.text import reason, shown

#: Of an image whose masks could still be made.
_MOST_PIXELS = 2**31


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class Embedding:
    """One image after the encoder; prompts are decoded from it as often as wanted.

    Attributes:
        image_embeddings: ``[1, C, S/16, S/16]`` float32, read-only: a runtime may keep it on its
            device for as long as the same array is decoded from (:mod:`samdeploy.resident`).
        transform: how the image was resized.
        image: the RGB uint8 image, kept for drawing; not saved.
    """

    image_embeddings: NDArray[np.float32]
    transform: Transform
    image: NDArray[np.uint8] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        features = self.image_embeddings.view()  # the caller's array stays as it is
        features.flags.writeable = False
        object.__setattr__(self, "image_embeddings", features)

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

    def save(self, path: str | Path) -> None:
        """Write an ``.npz`` file, whole or not at all."""
        path = Path(path)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                image_embeddings=self.image_embeddings,
                original_size=self.original_size,
                image_size=self.transform.image_size,
            )

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
                    features, side = stored["image_embeddings"], stored["image_size"].item()
                    height, width = stored["original_size"].tolist()
            _check_content(features, (height, width), side)
        except Exception as error:  # a file of somebody else's fails in any way
            raise InputError(
                f"'{path}' is not a saved embedding ({reason(error)}); expected a file written by "
                "Embedding.save."
            ) from error
        return cls(freeze(features), Transform.fit((height, width), side))


def _check_archive(file: BinaryIO) -> None:
    """Raise :class:`ValueError` for an archive that would grow: ours are not compressed."""
    with ZipFile(file) as archive:
        members = archive.infolist()
    content = sum(member.file_size for member in members)
    if content > file.seek(0, os.SEEK_END) or any(m.compress_type != ZIP_STORED for m in members):
        raise ValueError("its content is compressed")
    file.seek(0)


def _check_content(features: NDArray[Any], size: tuple[Any, Any], side: Any) -> None:
    whole = all(type(value) is int for value in (*size, side))
    if not whole or min(*size, side) < 1 or size[0] * size[1] > _MOST_PIXELS:
        raise ValueError(f"an image of {shown(size)} in an input of {shown(side)} pixels")
    if features.ndim != 4 or features.dtype != np.float32:
        raise ValueError(f"features of shape {list(features.shape)}, {features.dtype}")
    cells = side // 16
    if len(features) != 1 or features.shape[2:] != (cells, cells):
        raise ValueError(f"features of shape {list(features.shape)} for {side} pixels")
    if not np.isfinite(features).all():
        raise ValueError("features that are not finite")
