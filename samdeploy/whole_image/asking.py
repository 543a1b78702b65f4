"""Grid points to the confident masks that the model answers with."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from samdeploy.constants import BINARY_MASK_LOGIT, LABEL_FOREGROUND, LABEL_PADDING
from samdeploy.decoding import Answer
from samdeploy.embedding import Embedding
from samdeploy.engine import SingleMask
from samdeploy.geometry import Transform
from samdeploy.prompts import DecoderPrompts
from samdeploy.whole_image.settings import WholeImageSettings

Floats: TypeAlias = NDArray[np.float32]
Decode = Callable[[Embedding, DecoderPrompts], Answer]
#: Low-res logits ``[n, s, s]``, predicted IoU ``[n]``, and for each the point that it answers.
Confident: TypeAlias = tuple[Floats, Floats, NDArray[np.intp]]

#: Logit of what is not made: the part of a low-res mask that is all padding.
_OUTSIDE = -BINARY_MASK_LOGIT
#: Logits of a mask that is a prompt again are cut off here, as in SAM 2's reference implementation.
_MOST_LOGIT = 32.0


class Asking:
    """Asks at points of one image, or of one crop of it."""

    def __init__(
        self,
        decode: Decode,
        embedding: Embedding,
        settings: WholeImageSettings,
        single_mask: SingleMask,
    ) -> None:
        self._decode, self._embedding = decode, embedding
        self._settings, self._single_mask = settings, single_mask

    def __call__(self, points: NDArray[np.float64]) -> Confident:
        """``points`` ``[N, 2]`` in pixels of the image."""
        side = self._embedding.low_res_side
        prompts = grid_prompts(points, self._embedding.transform, side)
        answer = self._decode(self._embedding, prompts)
        if self._settings.use_m2m:
            return self._refined(prompts, answer)
        if not self._settings.multimask_output:
            return self._confident(*self._single(answer))
        # The single-mask output is for prompts that leave no doubt; one point does.
        iou = answer.iou_predictions[:, 1:]
        confident = self._is_confident(iou)
        if self._settings.best_only:
            confident &= np.arange(iou.shape[1]) == iou.argmax(axis=1)[:, None]
        # Masks are made only for prompts that have a confident one.
        rows = np.flatnonzero(confident.any(axis=1))
        logits = np.full((confident.sum(), side, side), _OUTSIDE, np.float32)
        if len(rows):
            cells = self._embedding.transform.low_res_size
            made = answer.masks(rows, cells)[:, 1:][confident[rows]]
            logits[:, : made.shape[1], : made.shape[2]] = made
        return logits, iou[confident], np.nonzero(confident)[0]

    def boxes(self, prompts: DecoderPrompts) -> Confident:
        """The same of prompts that leave no doubt: one mask each."""
        return self._confident(*self._single(self._decode(self._embedding, prompts)))

    def _confident(self, logits: Floats, iou: Floats) -> Confident:
        keep = self._is_confident(iou)
        return logits[keep], iou[keep], np.flatnonzero(keep)

    def _single(self, answer: Answer) -> tuple[Floats, Floats]:
        """The mask of every prompt that answers when one is asked for, and its predicted IoU."""
        rows = np.arange(len(answer.iou_predictions))
        logits, iou = answer.masks(rows), answer.iou_predictions
        chosen = self._single_mask(logits, iou)
        return logits[rows, chosen], iou[rows, chosen]

    def _refined(self, prompts: DecoderPrompts, answer: Answer) -> Confident:
        """Every mask once more, with its logits beside its point."""
        if self._settings.multimask_output:
            logits = answer.masks(np.arange(len(prompts)))[:, 1:]
            if self._settings.best_only:
                best = answer.iou_predictions[:, 1:].argmax(axis=1)
                logits = logits[np.arange(len(prompts)), best][:, None]
        else:
            logits = self._single(answer)[0][:, None]
        owners = np.repeat(np.arange(len(prompts)), logits.shape[1])
        earlier = logits.reshape(-1, 1, *logits.shape[2:]).clip(-_MOST_LOGIT, _MOST_LOGIT)
        asked, parts = len(prompts), []
        for start in range(0, len(owners), asked):
            rows = slice(start, start + asked)
            again = DecoderPrompts(
                prompts.point_coords[owners[rows]],
                prompts.point_labels[owners[rows]],
                earlier[rows],
                np.ones(len(owners[rows]), np.float32),
            )
            parts.append(self._single(self._decode(self._embedding, again)))
        refined, iou = (np.concatenate(each) for each in zip(*parts, strict=True))
        keep = self._is_confident(iou)
        return refined[keep], iou[keep], owners[keep]

    def _is_confident(self, iou: Floats) -> NDArray[np.bool_]:
        least = self._settings.conf_thres
        return iou > least if least > 0 else np.ones(iou.shape, bool)


def grid_prompts(
    points: NDArray[np.float64], transform: Transform, low_res_side: int
) -> DecoderPrompts:
    """One prompt of a single foreground point each; ``points`` ``[N, 2]`` in the image frame."""
    count = len(points)
    coords = np.zeros((count, 2, 2), np.float32)
    coords[:, 0] = transform.points_to_input(points)
    labels = np.tile(np.array([LABEL_FOREGROUND, LABEL_PADDING], np.float32), (count, 1))
    no_mask = np.zeros((count, 1, low_res_side, low_res_side), np.float32)
    return DecoderPrompts(coords, labels, no_mask, np.zeros(count, np.float32))
