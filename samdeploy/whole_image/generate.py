"""Whole-image segmentation: a grid of point prompts over the image and its crops, filtered.

The algorithm and its defaults are those of Segment Anything's automatic mask generation
(arXiv:2304.02643, appendix B). It runs on any encoder and decoder given as functions. Masks are
filtered as low-res logits, and only those that are kept are brought to the image's size; they are
kept as run lengths, so that memory does not grow with their number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from samdeploy.constants import MASK_THRESHOLD
from samdeploy.embedding import Embedding
from samdeploy.engine import SingleMask
from samdeploy.masks.masks import Masks
from samdeploy.masks.postprocess import box_iou, fill_holes, least_iou, nms, remove_islands
from samdeploy.masks.rle import Rle
from samdeploy.masks.single_mask import first_mask
from samdeploy.whole_image.asking import Asking, Decode
from samdeploy.whole_image.blas import one_blas_thread
from samdeploy.whole_image.candidates import Candidates, Decoded, Selector
from samdeploy.whole_image.grids import Crop, make_crops
from samdeploy.whole_image.prefetch import side_by_side
from samdeploy.whole_image.proposals import Proposals
from samdeploy.whole_image.settings import PROPOSALS, WholeImageSettings
from samdeploy.whole_image.upscaling import Patch

Progress = Callable[[int, int], None]

#: RGB uint8 ``[h, w, 3]`` (a crop of the image) -> its embedding.
Encode = Callable[[NDArray[np.uint8]], Embedding]

#: Candidates of a crop wait as logits for the filter between masks; beyond this many bytes, further
#: ones are brought to image size at once.
_MOST_LOGIT_BYTES = 256 << 20

#: Batches whose masks may wait for the filters while the next one is decoded.
_MOST_WAITING = 2

#: ``mode="adaptive"``: the grid is walked in steps of these. There and with proposals, a mask of at
#: most this share of the crop takes the points inside it out of the later walks.
_STRIDES = (4, 2, 1)
_COVERING_SHARE = 0.2


def generate(
    encode: Encode,
    decode: Decode,
    image: NDArray[np.uint8],
    settings: WholeImageSettings,
    progress: Progress | None = None,
    streams: int = 1,
    single_mask: SingleMask = first_mask,
    proposals: Proposals | None = None,
) -> Masks:
    """All confident and stable masks of ``image`` (RGB uint8 ``[H, W, 3]``), as run lengths.

    Best predicted IoU first when there are no crops and no small regions to clean; otherwise in
    the order in which the last filter between masks left them. ``progress(done, total)`` is called
    with the number of prompts after every decoder call. ``decode`` is called from as many
    threads as there are ``streams``. ``single_mask`` chooses where one mask is asked for.
    ``proposals`` are asked before the points; the result numbers them first, and has their centres
    as points.
    """
    size = (image.shape[0], image.shape[1])
    crops = make_crops(size, settings)
    total = sum(len(crop.points) for crop in crops) + (len(proposals.boxes) if proposals else 0)
    done = 0
    per_crop = []
    # One worker: filters run on it while the decoder is at the next batch.
    with one_blas_thread(), ThreadPoolExecutor(1, "samdeploy-filters") as worker:
        for crop in crops:
            x1, y1, x2, y2 = crop.box
            # One encoder call per crop; its candidates are filtered before the next crop starts.
            embedding = encode(np.ascontiguousarray(image[y1:y2, x1:x2]))
            asking = Asking(decode, embedding, settings, single_mask)
            walk = _Walk(asking, embedding, crop, size, settings, worker, streams, proposals)
            before = done
            for done in walk.run(before):
                if progress:
                    progress(done, total)
            per_crop.append(walk.best())
    found = Candidates.concatenate(per_crop)
    if len(crops) > 1:
        # A smaller crop sees more detail: its masks win.
        sides = found.crop_boxes[:, 2:] - found.crop_boxes[:, :2]
        preference = (1 / sides.prod(axis=1)).astype(np.float32)
        found = found[nms(found.boxes, preference, settings.crop_nms_thresh)]
    if settings.min_mask_region_area > 0:
        found = _clean(found, settings)
    return Masks.from_rles(
        found.rles,
        size,
        found.scores,
        prompt_index=found.prompts,
        stability=found.stability,
        points=found.points,
        crop_boxes=found.crop_boxes,
        image=image,
    )


class _Walk:
    """Proposals and grid points of one crop, batch by batch, to its candidates."""

    def __init__(
        self,
        asking: Asking,
        embedding: Embedding,
        crop: Crop,
        image_size: tuple[int, int],
        settings: WholeImageSettings,
        worker: ThreadPoolExecutor,
        streams: int,
        proposals: Proposals | None,
    ) -> None:
        self.selector = Selector(crop, embedding.transform, image_size, settings)
        self._asking, self._embedding = asking, embedding
        self._points, self._settings, self._worker = crop.points, settings, worker
        self._streams, self._proposals, self._boxes = streams, proposals, 0
        if proposals is not None:
            self._boxes = len(proposals.boxes)
            self._points = np.concatenate([proposals.centres, crop.points])
        self._waiting: list[Future[Candidates]] = []
        self._parts: list[Candidates] = []
        self._logit_bytes = 0
        self._covered = np.zeros(embedding.transform.low_res_size, bool)

    def run(self, before: int) -> Iterator[int]:
        """Decode all prompts, numbered from ``before`` on; yields how many are done."""
        done = before
        batch = self._settings.points_batch_size
        for level in self._levels():
            wanted = level[(level < self._boxes) | ~self._is_covered(self._points[level])]
            done += len(level) - len(wanted)
            if not len(wanted):
                yield done
            batches = [wanted[start : start + batch] for start in range(0, len(wanted), batch)]
            decode = partial(self._decode_points, before)
            decoded = side_by_side(decode, batches, self._streams)
            for indices, found in zip(batches, decoded, strict=True):
                self._submit(found)
                done += len(indices)
                yield done
            self._collect(0)

    def best(self) -> Candidates:
        """All candidates but those that a better one overlaps, as :func:`nms` with every mask made.

        The boxes of low-res logits are outer bounds. A candidate is passed by when it is a
        duplicate whatever its box is within bounds; else its mask is made and its own box decides.
        """
        found = Candidates.concatenate(self._parts)
        threshold = self._settings.nms_thresh
        kept: list[Candidates] = []
        boxes = np.zeros((len(found), 4), np.float32)  # of the kept ones, and space for the rest
        for i in np.argsort(-found.scores, kind="stable"):
            better = boxes[: len(kept)]
            near = better[box_iou(found.boxes[i], better) > threshold]
            if len(near):
                inner = self.selector.inner_box(found, i)
                if (least_iou(inner, found.boxes[i], near) > threshold).any():
                    continue
            one = self.selector.encode(found[np.array([i])])
            if (box_iou(one.boxes[0], better) > threshold).any():
                continue
            boxes[len(kept)] = one.boxes[0]
            kept.append(one)
        return Candidates.concatenate(kept) if kept else found

    def _levels(self) -> list[NDArray[np.intp]]:
        """Indices of the prompts: all at once, coarse to fine, or boxes before points."""
        every = np.arange(len(self._points))
        side = math.isqrt(len(every))
        if self._settings.mode == "grid":
            return [every]
        if self._settings.mode == PROPOSALS:
            return [every[: self._boxes], every[self._boxes :]]
        row, column = every // side, every % side
        first = [
            min(i for i, stride in enumerate(_STRIDES) if (r % stride, c % stride) == (0, 0))
            for r, c in zip(row, column, strict=True)
        ]
        return [np.flatnonzero(np.array(first) == i) for i in range(len(_STRIDES))]

    def _is_covered(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        cells = (self._embedding.transform.points_to_input(points) / 4).astype(np.intp)
        height, width = self._covered.shape
        x, y = cells[:, 0].clip(0, width - 1), cells[:, 1].clip(0, height - 1)
        return np.asarray(self._covered[y, x])

    def _decode_points(self, before: int, indices: NDArray[np.intp]) -> Decoded:
        points = self._points[indices]
        if self._proposals is not None and indices[0] < self._boxes:
            prompts = self._proposals.prompts(indices, self._embedding.transform)
            logits, iou, owners = self._asking.boxes(prompts)
        else:
            logits, iou, owners = self._asking(points)
        return Decoded(logits, iou, points[owners], indices[owners] + before)

    def _submit(self, decoded: Decoded) -> None:
        self._collect(_MOST_WAITING - 1)
        at_once = self._logit_bytes > _MOST_LOGIT_BYTES

        def filtered() -> Candidates:
            found = self.selector.select(decoded)
            if self._settings.mode != "grid":
                self._cover(found)  # read only when no batch is left waiting
            return self.selector.encode(found) if at_once else found

        self._waiting.append(self._worker.submit(filtered))

    def _collect(self, leave: int) -> None:
        while len(self._waiting) > leave:
            found = self._waiting.pop(0).result()
            self._parts.append(found)
            self._logit_bytes += found.logit_bytes

    def _cover(self, found: Candidates) -> None:
        for mask in found.masks:
            if isinstance(mask, Patch):
                y, x = mask.cell
                inside = mask.logits > MASK_THRESHOLD
                if inside.sum() <= _COVERING_SHARE * self._covered.size:
                    view = self._covered[y : y + inside.shape[0], x : x + inside.shape[1]]
                    view |= inside[: view.shape[0], : view.shape[1]]


def _clean(found: Candidates, settings: WholeImageSettings) -> Candidates:
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
    return replace(found, masks=[*rles], boxes=boxes)[keep]
