"""An encoded image."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from samdeploy.errors import InputError
from samdeploy.files import atomic_path
from samdeploy.geometry import Transform
from samdeploy.resident import freeze


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
        path = Path(path)
        if not path.is_file():
            raise InputError(f"embedding '{path}' does not exist; expected a file.")
        try:
            # Opened here: NumPy leaves a damaged archive open.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                features, side = stored["image_embeddings"], stored["image_size"].item()
                height, width = stored["original_size"].tolist()
            if features.ndim != 4 or features.dtype != np.float32 or min(height, width, side) < 1:
                raise ValueError("not what save writes")
            return cls(freeze(features), Transform.fit((height, width), side))
        except (
            OSError,
            EOFError,
            ValueError,
            KeyError,
            AttributeError,
            TypeError,
            BadZipFile,
        ) as e:
            raise InputError(
                f"'{path}' is not a saved embedding; expected a file written by Embedding.save."
            ) from e
