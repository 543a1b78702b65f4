"""How well a model segments procedural scenes that it was not trained on.

The figures of a model card and the thresholds of the tests come from here, on any runtime.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from samdeploy.benchmarks.track_scores import outer_box
from samdeploy.embedding import Embedding
from samdeploy.masks.postprocess import pairwise_iou
from samdeploy.prompts import Prompt
from samdeploy.sam import SAM
from samdeploy.scenes import generate_scene

Bools = NDArray[np.bool_]

#: Objects below this share of the image do not count for whole-image recall.
LARGE_SHARE = 0.01
#: Overlap at which an object is found, and below which a mask is of nothing.
FOUND_IOU = 0.7
FALSE_IOU = 0.5


@dataclass
class PromptScores:
    """IoU with the truth, one value per object, in the order of ``shares`` (area by image area).

    ``click`` is the best of the three masks from one click, ``click_chosen`` the one of them that
    the model itself rates best, ``box`` the single mask from the exact box, ``corrected`` the mask
    after three further, corrective clicks, and ``rating_error`` how far the predicted IoU of
    ``click_chosen`` is off.
    """

    shares: list[float] = field(default_factory=list)
    click: list[float] = field(default_factory=list)
    click_chosen: list[float] = field(default_factory=list)
    box: list[float] = field(default_factory=list)
    corrected: list[float] = field(default_factory=list)
    rating_error: list[float] = field(default_factory=list)

    def means(self, least_share: float = 0.0) -> dict[str, float]:
        """Mean of each list over the objects of at least ``least_share`` of the image."""
        kept = np.array(self.shares) >= least_share
        means = {k: float(np.mean(np.array(v)[kept])) for k, v in asdict(self).items()}
        del means["shares"]
        return means


@dataclass
class WholeImageScores:
    """Counts over all scenes: objects of at least :data:`LARGE_SHARE` and those of them found at
    :data:`FOUND_IOU`; masks, and those of them that match no object at :data:`FALSE_IOU`."""

    objects: int = 0
    found: int = 0
    masks: int = 0
    false_masks: int = 0

    @property
    def recall(self) -> float:
        return self.found / max(1, self.objects)

    @property
    def false_share(self) -> float:
        return self.false_masks / max(1, self.masks)


def interior_point(region: Bools) -> tuple[int, int]:
    """(x, y) of the pixel of ``region`` that is farthest from its edge; the image's border counts
    as an edge. The click that SAM's authors evaluate with."""
    padded = np.pad(region, 1).astype(np.uint8)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    y, x = np.unravel_index(int(distance.argmax()), region.shape)
    return int(x), int(y)


def score_prompts(
    sam: SAM, seeds: Iterable[int], size: int | tuple[int, int] = 256
) -> PromptScores:
    """Clicks, boxes and corrective clicks on every object of the scenes of ``seeds``."""
    scores = PromptScores()
    for seed in seeds:
        scene = generate_scene(seed, size)
        if len(scene.masks):
            score_objects(sam, sam.encode(scene.image, "rgb"), scene.masks, scores)
    return scores


def score_objects(sam: SAM, embedding: Embedding, truth: Bools, scores: PromptScores) -> None:
    """Add the scores of the objects ``truth`` ``[N, H, W]`` of one picture to ``scores``."""
    count = len(truth)
    clicks = [[interior_point(mask)] for mask in truth]
    first = sam.predict(embedding, points=clicks, multimask=True)
    overlaps = np.array(
        [_iou(mask, truth[i]) for mask, i in zip(first.data, first.prompt_index, strict=True)]
    ).reshape(count, -1)
    chosen = first.scores.reshape(count, -1).argmax(axis=1)
    rows = np.arange(count)
    current = first[rows * overlaps.shape[1] + chosen]
    scores.shares += list(truth.mean(axis=(1, 2)))
    scores.click += list(overlaps.max(axis=1))
    scores.click_chosen += list(overlaps[rows, chosen])
    scores.rating_error += list(np.abs(current.scores - overlaps[rows, chosen]))

    boxes = sam.predict(embedding, bboxes=[outer_box(mask) for mask in truth]).data
    scores.box += [_iou(*pair) for pair in zip(boxes, truth, strict=True)]

    labels = [[1] for _ in range(count)]
    for _ in range(3):
        prompts = []
        logits = current.low_res_logits
        assert logits is not None
        for i in range(count):
            wrong = current.data[i] != truth[i]
            x, y = interior_point(wrong if wrong.any() else truth[i])
            clicks[i].append((x, y))
            labels[i].append(int(truth[i, y, x]))
            prompts.append(Prompt(points=clicks[i], labels=labels[i], mask=logits[i]))
        current = sam.predict(embedding, prompts=prompts)
    scores.corrected += [_iou(*pair) for pair in zip(current.data, truth, strict=True)]


def _iou(a: Bools, b: Bools) -> float:
    return float(pairwise_iou(a[None], b[None])[0, 0])


def score_whole_image(
    sam: SAM, seeds: Iterable[int], size: int | tuple[int, int] = 256, **settings: Any
) -> WholeImageScores:
    """Whole-image mode on the scenes of ``seeds``; ``settings`` as for :meth:`SAM.generate`."""
    scores = WholeImageScores()
    for seed in seeds:
        scene = generate_scene(seed, size)
        masks = sam.generate(scene.image, channel_order="rgb", **settings).data
        overlaps = pairwise_iou(masks, scene.masks)
        large = scene.masks.mean(axis=(1, 2)) >= LARGE_SHARE
        scores.objects += int(large.sum())
        scores.found += int((overlaps.max(axis=0, initial=0) >= FOUND_IOU)[large].sum())
        scores.masks += len(masks)
        scores.false_masks += int((overlaps.max(axis=1, initial=0) < FALSE_IOU).sum())
    return scores
