"""Prompts to answers with the graphs that a model has.

A model with the split decoder (``prepare``, ``scorer``, ``mask_head``) rates all prompts first and
makes masks only for those that are wanted; prompts with a mask, and models without the split, go
through the plain ``decoder``. The answers are the same.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from samdeploy.contracts import spec_of
from samdeploy.embedding import Embedding
from samdeploy.graphs import DECODER, MASK_HEAD, PREPARE, SCORER
from samdeploy.graphs_hq import HALO, HQ_TOKENS
from samdeploy.prompts import DecoderPrompts
from samdeploy.resident import freeze
from samdeploy.session import Array, Session

Floats = NDArray[np.float32]
Size = tuple[int, int]

#: Of the mask head's inputs that are the image's, the one that every family has.
_FEATURES = "image_features"


class MasksOf(Protocol):
    """Makes the low-res logits ``[n, 4, S/4, S/4]`` of the given ``rows`` of a batch.

    ``cells`` (height, width): only so many rows and columns of logits are wanted, such as those of
    an image without its padding; then ``[n, 4, h, w]`` with at least these sides.
    """

    def __call__(self, rows: NDArray[Any], cells: Size | None = None) -> Floats: ...


@dataclass(frozen=True)
class Answer:
    """The answer to a batch of prompts.

    Attributes:
        iou_predictions: ``[B, 4]``, predicted IoU; index 0 is the single-mask output.
        masks: makes the masks that are wanted.
    """

    iou_predictions: Floats
    masks: MasksOf


class _Prepared:
    """The part that all prompts on an image share: ``shared`` for the scorer, and for the mask head
    :meth:`features`, the tensors called ``names``."""

    def __init__(self, prepared: dict[str, Array], names: Collection[str]) -> None:
        for array in prepared.values():
            freeze(array)
        self._features = {name: prepared.pop(name) for name in names}
        self._parts = dict(self._features)
        self.shared = prepared

    @property
    def grid(self) -> Size:
        rows, columns = self._features[_FEATURES].shape[:2]
        return rows, columns

    def features(self, rows: int, columns: int) -> dict[str, Array]:
        """The first rows and columns; the same arrays when they are asked for again."""
        parts = self._parts
        if parts[_FEATURES].shape[:2] != (rows, columns):
            parts = {
                name: freeze(np.ascontiguousarray(array[:rows, :columns]))
                for name, array in self._features.items()
            }
            self._parts = parts
        return parts


class Decoding:
    """Decodes with the sessions of one model, given by role."""

    def __init__(self, sessions: Mapping[str, Session]) -> None:
        self._sessions = sessions
        self._split = all(role in sessions for role in (PREPARE, SCORER, MASK_HEAD))
        self._makes_parts = self._split and _makes_parts(sessions[MASK_HEAD])
        self._halo = _halo(sessions[MASK_HEAD]) if self._split else 0
        self._lock = threading.Lock()
        self._prepared: WeakKeyDictionary[Embedding, _Prepared] = WeakKeyDictionary()

    def __call__(self, embedding: Embedding, prompts: DecoderPrompts) -> Answer:
        if self._split and not prompts.has_mask_input.any():
            return self._score(embedding, prompts)
        return self._decode(embedding, prompts)

    def prepare(self, embedding: Embedding) -> None:
        """Do now what is needed once per image; otherwise the first call does it."""
        with self._lock:
            if self._split and embedding not in self._prepared:
                graph = self._sessions[PREPARE]
                prepared = graph.run(embedding.feeds(graph))
                taken = {spec.name for spec in self._sessions[MASK_HEAD].inputs}
                self._prepared[embedding] = _Prepared(prepared, taken & prepared.keys())

    def _score(self, embedding: Embedding, prompts: DecoderPrompts) -> Answer:
        self.prepare(embedding)
        prepared = self._prepared[embedding]
        tokens = {"point_coords": prompts.point_coords, "point_labels": prompts.point_labels}
        scored = self._sessions[SCORER].run({**prepared.shared, **tokens})
        iou = scored.pop("iou_predictions")

        def masks(rows: NDArray[Any], cells: Size | None = None) -> Floats:
            height, width = prepared.grid
            if cells is not None and self._makes_parts:
                # A cell is a quarter of a token; interpolation also reads the one behind the last.
                behind = 1 + self._halo
                height, width = (
                    min(side, -(-(used + behind) // 4))
                    for side, used in zip(prepared.grid, cells, strict=True)
                )
            feeds = {name: _taken(scored[name], rows) for name in ("mask_tokens", "mask_values")}
            for name in ("mask_scale", "mask_weights"):
                feeds[name] = _part(scored[name], rows, prepared.grid, height, width)
            feeds |= prepared.features(height, width)
            return self._sessions[MASK_HEAD].run(feeds)["low_res_masks"]

        return Answer(iou, masks)

    def _decode(self, embedding: Embedding, prompts: DecoderPrompts) -> Answer:
        graph = self._sessions[DECODER]
        answer = graph.run({**embedding.feeds(graph), **prompts.feeds()})
        logits = answer["low_res_masks"]
        return Answer(answer["iou_predictions"], lambda rows, cells=None: logits[rows])


def _makes_parts(mask_head: Session) -> bool:
    """Whether it takes any number of rows and columns of image tokens; the graphs of some backends
    are for all of them only."""
    return not isinstance(spec_of(mask_head.inputs, _FEATURES).shape[0], int)


def _halo(mask_head: Session) -> int:
    """How many cells behind the one that is wanted it has to see."""
    return HALO if any(spec.name == HQ_TOKENS for spec in mask_head.inputs) else 0


def _part(array: Array, rows: NDArray[Any], grid: Size, height: int, width: int) -> Array:
    """Take the given rows of ``[B, n, N]``, and of their positions those in the first lines and
    columns of the image tokens."""
    if (height, width) == grid:
        return _taken(array, rows)
    part = array.reshape(*array.shape[:2], *grid)[:, :, :height, :width]
    wanted: Array = part[rows].reshape(len(rows), array.shape[1], -1)
    return wanted


def _taken(array: Array, rows: NDArray[Any]) -> Array:
    """The given rows of ``array``; itself, and no copy, where these are all."""
    every = np.array_equal(rows, np.arange(len(array)))
    taken: Array = array if every else array[rows]
    return taken
