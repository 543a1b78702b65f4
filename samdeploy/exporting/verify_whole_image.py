"""Does whole-image mode find with an artifact what it finds with the reference?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from samdeploy.decoding import Answer
from samdeploy.embedding import Embedding
from samdeploy.masks.postprocess import pairwise_iou
from samdeploy.prompts import DecoderPrompts
from samdeploy.whole_image.generate import generate
from samdeploy.whole_image.settings import WholeImageSettings

#: Grid points along a side, a quarter of the usual ones, and prompts a call: graphs of fixed shapes
#: compute many in the time of few.
_GRID = {"points_stride": 8, "points_batch_size": 16}
#: Overlap at which two masks are the same.
_SAME_IOU = 0.9

Decode = Callable[[Embedding, DecoderPrompts], Answer]
#: An encoded image, its pixels included, and what decodes it.
Side = tuple[Embedding, Decode]


def masks_kept(reference: Side, candidate: Side, thresholds: Mapping[str, Any]) -> tuple[int, int]:
    """How many masks of ``reference`` are among those of ``candidate``, and how many there are.

    ``thresholds`` are the settings that the model recommends, which decide what is found at all.
    """
    settings = WholeImageSettings.from_names(_GRID, thresholds)
    expected, found = (_masks(*side, settings) for side in (reference, candidate))
    best = pairwise_iou(expected, found).max(axis=1, initial=0)
    return int((best >= _SAME_IOU).sum()), len(expected)


def _masks(embedding: Embedding, decode: Decode, settings: WholeImageSettings) -> Any:
    assert embedding.image is not None
    return generate(lambda pixels: embedding, decode, embedding.image, settings).data
