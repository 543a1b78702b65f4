"""Encode and decode with the sessions of an opened model: the floor that everything stands on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from samdeploy.contracts import misfit
from samdeploy.decoding import Answer, Decoding
from samdeploy.embedding import Embedding
from samdeploy.errors import InputError
from samdeploy.families import resolve
from samdeploy.geometry import Size, Transform
from samdeploy.graphs import ENCODER
from samdeploy.opening import OpenedModel
from samdeploy.preprocess import preprocess
from samdeploy.prompts import DecoderPrompts, Prompt, encode_prompts
from samdeploy.resident import freeze

#: ``choose(logits [B, 4, h, w], iou [B, 4]) -> [B]``, indices of masks.
SingleMask: TypeAlias = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.intp]]


class Engine:
    """Stateless: an embedding goes out of :meth:`encode` and into :meth:`decode`."""

    def __init__(self, model: OpenedModel) -> None:
        self._encoder, self._steps = model.sessions[ENCODER], model.preprocess
        self._always_padded = model.rules.always_padded
        self._largest_logit = model.rules.largest_logit
        self._decoding = Decoding(model.sessions)
        self.image_size = model.image_size
        self.low_res_side = model.low_res_side
        #: Which mask of each prompt answers when one is asked for; see :class:`Family`.
        self.single_mask: SingleMask = resolve(model.rules.single_mask)

    def transform(self, size: Size) -> Transform:
        """How an image of ``size`` (height, width) becomes encoder input."""
        return self._steps.transform(size, self.image_size)

    def encode_prompts(self, prompts: Sequence[Prompt], transform: Transform) -> DecoderPrompts:
        """The decoder's feeds, as the model's family wants them."""
        batch = encode_prompts(prompts, transform, self.low_res_side, self._always_padded)
        most = self._largest_logit
        if not batch.has_mask_input.any() or math.isinf(most):
            return batch
        return replace(batch, mask_input=batch.mask_input.clip(-most, most))

    def encode(self, image: NDArray[np.uint8]) -> Embedding:
        """``image`` is RGB uint8 ``[H, W, 3]``."""
        pixels, transform = preprocess(image, self.image_size, self._steps)
        tensors = self._encoder.run({"image": pixels})
        return Embedding({name: freeze(a) for name, a in tensors.items()}, transform, image)

    def decode(self, embedding: Embedding, prompts: DecoderPrompts) -> Answer:
        """One decoder call for a batch of prompts.

        Raises:
            InputError: the embedding is of another model.
        """
        shapes = {name: array.shape for name, array in embedding.tensors.items()}
        own = {spec.name: spec.shape for spec in self._encoder.outputs}
        if (
            set(shapes) != set(own)
            or any(misfit(s, embedding.tensors[s.name], {}) for s in self._encoder.outputs)
            or embedding.transform.image_size != self.image_size
        ):
            raise InputError(
                f"an embedding of {_listed(shapes)} for {embedding.transform.image_size} pixels "
                f"does not fit this model, whose are {_listed(own)} for {self.image_size}; encode "
                "the image with the model that decodes it."
            )
        return self._decoding(embedding, prompts)


def _listed(shapes: Mapping[str, tuple[int | str, ...]]) -> str:
    return ", ".join(f"'{name}' {list(shape)}" for name, shape in shapes.items())
