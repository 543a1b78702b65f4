"""Embeddings on disk: an image that was encoded before opens at once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from samdeploy.embedding import Embedding
from samdeploy.errors import InputError


class EmbeddingCache:
    """A folder of saved embeddings, found by what they were made from.

    ``model`` names the encoder exactly: an embedding of another model, or of the same one in
    another precision, is never found. A damaged file is made again.
    """

    def __init__(self, folder: str | Path, model: str) -> None:
        self._folder, self._model = Path(folder), model
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"embedding_cache='{folder}' cannot be a folder ({error.strerror}); choose another."
            ) from error

    def get(
        self, image: NDArray[np.uint8], encode: Callable[[NDArray[np.uint8]], Embedding]
    ) -> Embedding:
        """The embedding of ``image`` (RGB uint8 ``[H, W, 3]``), encoded if it is not stored yet."""
        path = self._folder / f"{self._key(image)}.npz"
        if path.is_file():
            try:
                return replace(Embedding.load(path), image=image)
            except InputError:
                path.unlink(missing_ok=True)
        embedding = encode(image)
        embedding.save(path)
        return embedding

    def _key(self, image: NDArray[np.uint8]) -> str:
        digest = hashlib.sha256(self._model.encode())
        digest.update(repr(image.shape).encode())
        digest.update(np.ascontiguousarray(image).data)
        return digest.hexdigest()
