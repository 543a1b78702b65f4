"""Whole-image segmentation: a grid of point prompts over the image and its crops, filtered.

The algorithm and its defaults are those of Segment Anything's automatic mask generation
(arXiv:2304.02643, appendix B). It runs on any encoder and decoder given as functions, and keeps
masks as run lengths, so that memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from samdeploy.constants import LABEL_FOREGROUND, LABEL_PADDING, MASK_THRESHOLD
from samdeploy.decoding import Answer
from samdeploy.embedding import Embedding
from samdeploy.geometry import Transform, iter_resized_logits
from samdeploy.grids import Crop, make_crops
from samdeploy.masks import Masks
from samdeploy.postprocess import (
    fill_holes,
    mask_boxes,
    near_crop_edge,
    nms,
    remove_islands,
    stability_scores,
)
from samdeploy.prompts import DecoderPrompts
from samdeploy.rle import Rle
from samdeploy.settings import WholeImageSettings

Floats = NDArray[np.float32]
Progress = Callable[[int, int], None]

#: RGB uint8 ``[h, w, 3]`` (a crop of the image) -> its embedding.
Encode = Callable[[NDArray[np.uint8]], Embedding]
Decode = Callable[[Embedding, DecoderPrompts], Answer]


_NO_LOGITS = np.zeros((0, 1, 1), np.float32)


@dataclass(frozen=True)
class _Found:
    """Candidate masks and what is known of each; boxes and points in image pixels, ``prompts`` the
    index of the grid point among those of all crops."""

    rles: list[Rle]
    boxes: Floats
    scores: Floats
    stability: Floats
    points: NDArray[np.float64]
    prompts: NDArray[np.intp]
    crop_boxes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rles)

    def __getitem__(self, keep: NDArray[np.intp]) -> _Found:
        return _Found(
            [self.rles[i] for i in keep],
            self.boxes[keep],
            self.scores[keep],
            self.stability[keep],
            self.points[keep],
            self.prompts[keep],
            self.crop_boxes[keep],
        )


def generate(
    encode: Encode,
    decode: Decode,
    image: NDArray[np.uint8],
    settings: WholeImageSettings,
    progress: Progress | None = None,
) -> Masks:
    """All confident and stable masks of ``image`` (RGB uint8 ``[H, W, 3]``), as run lengths.

    Best predicted IoU first when there are no crops and no small regions to clean; otherwise in
    the order in which the last filter between masks left them. ``progress(done, total)`` is called
    with the number of grid points after every decoder call.
    """
    height, width = image.shape[:2]
    crops = make_crops((height, width), settings)
    total = sum(len(crop.points) for crop in crops)
    done = 0
    per_crop = []
    for crop in crops:
        x1, y1, x2, y2 = crop.box
        # One encoder call per crop; its candidates are filtered before the next crop starts.
        embedding = encode(np.ascontiguousarray(image[y1:y2, x1:x2]))
        batches = []
        for points in _batches(crop.points, settings.points_batch_size):
            found = _process_batch(decode, embedding, points, crop, (height, width), settings)
            batches.append(replace(found, prompts=found.prompts + done))
            done += len(points)
            if progress:
                progress(done, total)
        found = _concatenate(batches)
        per_crop.append(found[nms(found.boxes, found.scores, settings.nms_thresh)])
    found = _concatenate(per_crop)
    if len(crops) > 1:
        # A smaller crop sees more detail: its masks win.
        sides = found.crop_boxes[:, 2:] - found.crop_boxes[:, :2]
        preference = (1 / sides.prod(axis=1)).astype(np.float32)
        found = found[nms(found.boxes, preference, settings.crop_nms_thresh)]
    if settings.min_mask_region_area > 0:
        found = _clean(found, settings)
    return Masks.from_rles(
        found.rles,
        (height, width),
        found.scores,
        prompt_index=found.prompts,
        stability=found.stability,
        points=found.points,
        crop_boxes=found.crop_boxes,
        image=image,
    )


def _batches(points: NDArray[np.float64], size: int) -> Iterator[NDArray[np.float64]]:
    for start in range(0, len(points), size):
        yield points[start : start + size]


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


def _process_batch(
    decode: Decode,
    embedding: Embedding,
    points: NDArray[np.float64],
    crop: Crop,
    image_size: tuple[int, int],
    settings: WholeImageSettings,
) -> _Found:
    """Candidates of some grid points of a crop that pass the filters on single masks."""
    transform = embedding.transform
    prompts = grid_prompts(points, transform, embedding.low_res_side)
    answer = decode(embedding, prompts)
    # The single-mask output is for prompts that leave no doubt; one point does.
    iou = answer.iou_predictions[:, 1:]
    confident = iou > settings.conf_thres if settings.conf_thres > 0 else np.ones(iou.shape, bool)
    # Masks are made only for prompts that have a confident one.
    rows = np.flatnonzero(confident.any(axis=1))
    logits = answer.masks(rows)[:, 1:][confident[rows]] if len(rows) else _NO_LOGITS
    iou, owners = iou[confident], np.nonzero(confident)[0]

    offset = np.array([crop.box[0], crop.box[1]])
    # In float32 like the scores: a threshold of 0.95 keeps a score of 0.95.
    steady = np.float32(settings.stability_score_thresh)
    rles, boxes, stability, kept = [], [], [], []
    for i, image_logits in enumerate(iter_resized_logits(logits, transform)):
        score = stability_scores(image_logits[None], settings.stability_score_offset)[0]
        if steady > 0 and not score >= steady:
            continue
        mask = image_logits > MASK_THRESHOLD
        box = mask_boxes(mask[None])[0] + np.tile(offset, 2)
        if near_crop_edge(box[None], crop.box, image_size)[0]:
            continue
        rles.append(Rle.encode(_uncrop(mask, crop.box, image_size)))
        boxes.append(box)
        stability.append(score)
        kept.append(i)
    return _Found(
        rles,
        np.array(boxes, np.float32).reshape(-1, 4),
        iou[kept],
        np.array(stability, np.float32),
        points[owners[kept]] + offset,
        owners[kept],
        np.tile(np.array(crop.box, np.int64), (len(kept), 1)),
    )


def _uncrop(
    mask: NDArray[np.bool_], box: tuple[int, int, int, int], image_size: tuple[int, int]
) -> NDArray[np.bool_]:
    if mask.shape == image_size:
        return mask
    whole = np.zeros(image_size, bool)
    whole[box[1] : box[3], box[0] : box[2]] = mask
    return whole


def _concatenate(parts: list[_Found]) -> _Found:
    return _Found(
        [rle for part in parts for rle in part.rles],
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.stability for part in parts]),
        np.concatenate([part.points for part in parts]),
        np.concatenate([part.prompts for part in parts]),
        np.concatenate([part.crop_boxes for part in parts]),
    )


def _clean(found: _Found, settings: WholeImageSettings) -> _Found:
    """Fill small holes, drop small islands, then remove what became a duplicate.

    Masks that needed no change win over changed ones.
    """
    rles, boxes = list(found.rles), found.boxes.copy()
    unchanged = np.ones(len(found), np.float32)
    for i, rle in enumerate(found.rles):
        mask, filled = fill_holes(rle.decode(), settings.min_mask_region_area)
        mask, removed = remove_islands(mask, settings.min_mask_region_area)
        if filled or removed:
            unchanged[i] = 0
            rles[i] = Rle.encode(mask)
            boxes[i] = rles[i].box
    keep = nms(boxes, unchanged, max(settings.nms_thresh, settings.crop_nms_thresh))
    return replace(found, rles=rles, boxes=boxes)[keep]
