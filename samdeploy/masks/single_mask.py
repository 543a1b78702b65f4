"""Which of a decoder's masks answers when one is asked for."""

import numpy as np
from numpy.typing import NDArray

from samdeploy.masks.postprocess import stability_scores

#: SAM 2's, in logits and as a score.
STABILITY_OFFSET = 0.05
STABILITY_THRESHOLD = 0.98


def first_mask(logits: NDArray[np.float32], iou: NDArray[np.float32]) -> NDArray[np.intp]:
    """SAM's choice for every prompt, the single-mask output: indices ``[B]`` of zeros."""
    return np.zeros(len(iou), np.intp)


def stable_mask(
    logits: NDArray[np.float32],
    iou: NDArray[np.float32],
    *,
    offset: float = STABILITY_OFFSET,
    threshold: float = STABILITY_THRESHOLD,
) -> NDArray[np.intp]:
    """SAM 2's choice for every prompt: the single-mask output where its outline is a stable one,
    else the best of the candidates for ambiguous prompts (arXiv:2408.00714).

    Args:
        logits: low-res logits ``[B, 4, h, w]``, of the whole image.
        iou: predicted IoU ``[B, 4]``.
        offset: shift of the mask threshold, in logits.
        threshold: stability score from which on the single-mask output is taken.

    Returns:
        Indices ``[B]`` of masks, 0 to 3.
    """
    stability = stability_scores(logits[:, 0], offset)
    # An empty mask is as stable as can be. In float32, so that 0.98 is enough for 0.98.
    stable = np.isnan(stability) | (stability >= np.float32(threshold))
    return np.where(stable, 0, 1 + np.argmax(iou[:, 1:], axis=1))
