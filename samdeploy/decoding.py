"""Prompts to answers with the graphs that a model has.

A model with the split decoder (``prepare``, ``scorer``, ``mask_head``) rates all prompts first and
makes masks only for those that are wanted; prompts with a mask, and models without the split, go
through the plain ``decoder``. The answers are the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from samdeploy.embedding import Embedding
from samdeploy.graphs import DECODER, MASK_HEAD, PREPARE, SCORER
from samdeploy.prompts import DecoderPrompts
from samdeploy.session import Array, Session

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Answer:
    """What a batch of prompts gave.

    Attributes:
        iou_predictions: ``[B, 4]``, predicted IoU; index 0 is the single-mask output.
        masks: the low-res logits ``[n, 4, S/4, S/4]`` of the given rows.
    """

    iou_predictions: Floats
    masks: Callable[[NDArray[Any]], Floats]


class Decoding:
    """Decodes with the sessions of one model, given by role."""

    def __init__(self, sessions: Mapping[str, Session]) -> None:
        self._sessions = sessions
        self._split = all(role in sessions for role in (PREPARE, SCORER, MASK_HEAD))
        self._lock = threading.Lock()
        self._prepared: WeakKeyDictionary[Embedding, dict[str, Array]] = WeakKeyDictionary()

    def __call__(self, embedding: Embedding, prompts: DecoderPrompts) -> Answer:
        if self._split and not prompts.has_mask_input.any():
            return self._score(embedding, prompts)
        return self._decode(embedding, prompts)

    def prepare(self, embedding: Embedding) -> None:
        """Do now what is needed once per image; otherwise the first call does it."""
        with self._lock:
            if self._split and embedding not in self._prepared:
                feeds = {"image_embeddings": embedding.image_embeddings}
                prepared = self._sessions[PREPARE].run(feeds)
                for array in prepared.values():
                    array.flags.writeable = False  # like the embedding's
                self._prepared[embedding] = prepared

    def _score(self, embedding: Embedding, prompts: DecoderPrompts) -> Answer:
        self.prepare(embedding)
        scored = self._sessions[SCORER].run(
            {
                **self._prepared[embedding],
                "point_coords": prompts.point_coords,
                "point_labels": prompts.point_labels,
            }
        )
        tokens, features = scored["mask_tokens"], scored["mask_features"]

        def masks(rows: NDArray[Any]) -> Floats:
            feeds = {"mask_tokens": tokens[rows], "mask_features": features[rows]}
            return self._sessions[MASK_HEAD].run(feeds)["low_res_masks"]

        return Answer(scored["iou_predictions"], masks)

    def _decode(self, embedding: Embedding, prompts: DecoderPrompts) -> Answer:
        feeds = {"image_embeddings": embedding.image_embeddings, **prompts.feeds()}
        answer = self._sessions[DECODER].run(feeds)
        logits = answer["low_res_masks"]
        return Answer(answer["iou_predictions"], lambda rows: logits[rows])
