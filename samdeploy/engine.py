"""Encode and decode with the sessions of an opened model: the floor that everything stands on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from samdeploy.decoding import Answer, Decoding
from samdeploy.embedding import Embedding
from samdeploy.errors import InputError
from samdeploy.graphs import ENCODER
from samdeploy.opening import OpenedModel
from samdeploy.preprocess import preprocess
from samdeploy.prompts import DecoderPrompts
from samdeploy.resident import freeze


class Engine:
    """Stateless: an embedding goes out of :meth:`encode` and into :meth:`decode`."""

    def __init__(self, model: OpenedModel) -> None:
        self._encoder = model.sessions[ENCODER]
        self._decoding = Decoding(model.sessions)
        self.image_size = model.image_size
        self.low_res_side = model.low_res_side

    def encode(self, image: NDArray[np.uint8]) -> Embedding:
        """``image`` is RGB uint8 ``[H, W, 3]``."""
        pixels, transform = preprocess(image, self.image_size)
        features = self._encoder.run({"image": pixels})["image_embeddings"]
        return Embedding(freeze(features), transform, image)

    def decode(self, embedding: Embedding, prompts: DecoderPrompts) -> Answer:
        """One decoder call for a batch of prompts.

        Raises:
            InputError: the embedding is of another model.
        """
        if (
            embedding.low_res_side != self.low_res_side
            or embedding.transform.image_size != self.image_size
        ):
            raise InputError(
                f"an embedding of {list(embedding.image_embeddings.shape)} for {self.image_size} "
                "pixels does not fit this model; encode the image with the model that decodes it."
            )
        return self._decoding(embedding, prompts)
