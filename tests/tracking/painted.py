"""Flat coloured objects on black, and a segmenter that sees colours: what tracking does can be told
apart from what a model does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samdeploy.constants import LABEL_BOX_BOTTOM_RIGHT, LABEL_BOX_TOP_LEFT, LABEL_FOREGROUND
from samdeploy.decoding import Answer
from samdeploy.embedding import Embedding
from samdeploy.geometry import Transform
from samdeploy.masks.single_mask import first_mask
from samdeploy.prompts import DecoderPrompts, Prompt, encode_prompts
from samdeploy.tracking.frames import Frame
from samdeploy.tracking.settings import TrackSettings
from samdeploy.tracking.track import Tracker, track
from samdeploy.tracking.tracked import Tracked

SIDE = 128
#: Predicted IoU of the four masks of a prompt.
QUALITIES = (0.95, 0.9, 0.85, 0.8)
RED, GREEN, BLUE = (220, 30, 30), (30, 200, 30), (40, 40, 230)
Image = NDArray[np.uint8]


def paint(*objects: tuple[tuple[int, int, int, int], tuple[int, int, int]]) -> Image:
    """Boxes x1 y1 x2 y2, which may end outside, each in a colour; later ones cover earlier ones."""
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    for (x1, y1, x2, y2), colour in objects:
        image[max(0, y1) : max(0, y2), max(0, x1) : max(0, x2)] = colour
    return image


class ColourModel:
    """Answers each prompt with all pixels of the colour at its point, or of the commonest colour in
    its box; black with an empty mask of low quality. Counts its calls."""

    def __init__(self) -> None:
        self.encoded = 0
        self.single_mask = first_mask
        self.batches: list[int] = []

    def encode(self, pixels: Image) -> Embedding:
        self.encoded += 1
        grid = np.zeros((1, 1, SIDE // 16, SIDE // 16), np.float32)
        return Embedding({"image_embeddings": grid}, Transform.fit((SIDE, SIDE), SIDE), pixels)

    @staticmethod
    def encode_prompts(prompts: Sequence[Prompt], transform: Transform) -> DecoderPrompts:
        return encode_prompts(prompts, transform, SIDE // 4)

    def decode(self, embedding: Embedding, prompts: DecoderPrompts) -> Answer:
        self.batches.append(len(prompts))
        assert embedding.image is not None
        cells = embedding.image[2::4, 2::4].astype(int)
        logits = np.full((len(prompts), 4, *cells.shape[:2]), -8, np.float32)
        iou = np.zeros((len(prompts), 4), np.float32)
        for row, (xy, kinds) in enumerate(
            zip(prompts.point_coords, prompts.point_labels, strict=True)
        ):
            colour = self._colour(cells, xy, kinds.tolist())
            if any(colour):
                logits[row, :, (cells == colour).all(axis=2)] = 8
                iou[row] = QUALITIES
        return Answer(iou, lambda rows, cells=None: logits[rows])

    @staticmethod
    def _colour(cells: NDArray[Any], xy: NDArray[np.float32], kinds: list[float]) -> list[int]:
        at = (xy // 4).astype(int).clip(0, len(cells) - 1)
        if LABEL_FOREGROUND in kinds:
            x, y = at[kinds.index(LABEL_FOREGROUND)]
            return [int(value) for value in cells[y, x]]
        (x1, y1), (x2, y2) = (
            at[kinds.index(kind)] for kind in (LABEL_BOX_TOP_LEFT, LABEL_BOX_BOTTOM_RIGHT)
        )
        inside = cells[y1 : y2 + 1, x1 : x2 + 1].reshape(-1, 3)
        found, counts = np.unique(inside[inside.any(axis=1)], axis=0, return_counts=True)
        return [int(value) for value in found[counts.argmax()]] if len(found) else [0, 0, 0]


def follow(
    images: Sequence[Image], *prompts: Prompt, model: ColourModel | None = None, **settings: Any
) -> list[Tracked]:
    """The results of following ``prompts`` of the first image."""
    model = model or ColourModel()
    frames = [Frame("", image) for image in images]
    chosen = TrackSettings.from_names(settings)
    return list(track(model.encode, model, frames, {0: prompts}, chosen))


def new_tracker(model: ColourModel) -> Tracker:
    return Tracker(model.encode, model, TrackSettings())


def sliding(
    count: int, box: tuple[int, int, int, int], step: tuple[int, int]
) -> Iterator[tuple[int, int, int, int]]:
    """``box`` moved by ``step`` (x, y) pixels from frame to frame."""
    x1, y1, x2, y2 = box
    for index in range(count):
        dx, dy = step[0] * index, step[1] * index
        yield x1 + dx, y1 + dy, x2 + dx, y2 + dy
