"""Candidate masks of whole-image mode, and the filters that look at one mask at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from samdeploy.constants import MASK_THRESHOLD
from samdeploy.geometry import Transform, iter_resized_logits
from samdeploy.masks.postprocess import mask_boxes, near_crop_edge, stability_scores
from samdeploy.masks.rle import Rle
from samdeploy.whole_image.grids import Crop
from samdeploy.whole_image.settings import WholeImageSettings
from samdeploy.whole_image.upscaling import Patch, Upscaler

Floats = NDArray[np.float32]
Size = tuple[int, int]


@dataclass(frozen=True)
class Candidates:
    """Masks and what is known of each; boxes and points in image pixels, ``prompts`` the index of
    the grid point among those of all crops. A mask is run lengths, or still a patch of logits."""

    masks: list[Rle | Patch]
    boxes: Floats
    scores: Floats
    stability: Floats
    points: NDArray[np.float64]
    prompts: NDArray[np.intp]
    crop_boxes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, keep: NDArray[np.intp]) -> Candidates:
        return Candidates(
            [self.masks[i] for i in keep],
            self.boxes[keep],
            self.scores[keep],
            self.stability[keep],
            self.points[keep],
            self.prompts[keep],
            self.crop_boxes[keep],
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Candidates]) -> Candidates:
        return cls(
            [mask for part in parts for mask in part.masks],
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.stability for part in parts]),
            np.concatenate([part.points for part in parts]),
            np.concatenate([part.prompts for part in parts]),
            np.concatenate([part.crop_boxes for part in parts]),
        )

    @property
    def logit_bytes(self) -> int:
        """Memory of the masks that are still logits."""
        return sum(mask.logits.nbytes for mask in self.masks if isinstance(mask, Patch))

    @property
    def rles(self) -> list[Rle]:
        """The masks, all of which are run lengths by now."""
        assert all(isinstance(mask, Rle) for mask in self.masks)
        return [mask for mask in self.masks if isinstance(mask, Rle)]


@dataclass(frozen=True)
class Decoded:
    """The confident masks of some grid points: low-res ``logits`` ``[n, s, s]`` and predicted
    ``iou`` ``[n]``; ``points`` ``[n, 2]`` in crop pixels and ``prompts`` ``[n]`` of each."""

    logits: Floats
    iou: Floats
    points: NDArray[np.float64]
    prompts: NDArray[np.intp]


class Selector:
    """Candidates of one crop of an image of ``image_size`` (height, width)."""

    def __init__(
        self, crop: Crop, transform: Transform, image_size: Size, settings: WholeImageSettings
    ) -> None:
        self._crop, self._transform = crop, transform
        self._image_size, self._settings = image_size, settings
        self._upscaler = Upscaler(transform)
        self._corner = np.array([*crop.box[:2], *crop.box[:2]], np.float32)

    def select(self, decoded: Decoded) -> Candidates:
        """Those that are stable and not cut off by the crop, judged on low-res logits.

        With ``exact`` they are judged at the crop's full size, as the reference implementation
        does, for which every one of them has to be made.
        """
        return (self._exact if self._settings.exact else self._low_res)(decoded)

    def encode(self, found: Candidates) -> Candidates:
        """The same with every mask as run lengths, and boxes from its pixels."""
        x, y = self._crop.box[:2]
        masks = [
            self._upscaler.encode(mask, (y, x), self._image_size)
            if isinstance(mask, Patch)
            else mask
            for mask in found.masks
        ]
        boxes = np.array([mask.box for mask in masks], np.float32).reshape(-1, 4)
        return replace(found, masks=[*masks], boxes=boxes)

    def inner_box(self, found: Candidates, index: int) -> Floats:
        """A box that the box of one mask holds, as ``found.boxes`` hold it."""
        mask = found.masks[index]
        if isinstance(mask, Rle):
            return np.asarray(found.boxes[index])
        return self._upscaler.inner_box(mask) + self._corner

    def _low_res(self, decoded: Decoded) -> Candidates:
        height, width = self._transform.low_res_size
        logits = decoded.logits[:, :height, :width]
        offset = self._settings.stability_score_offset
        stability, doubt = self._upscaler.estimate_stability(decoded.logits, offset)
        least = self._settings.stability_score_thresh
        for i in np.flatnonzero(np.abs(stability - least) <= doubt) if least > 0 else ():
            stability[i] = self._upscaler.stability(decoded.logits[i], offset)
        cells = mask_boxes(logits > MASK_THRESHOLD)
        boxes = self._upscaler.boxes(decoded.logits) + self._corner
        kept = np.flatnonzero(self._steady(stability))
        box_of = cells.astype(int).tolist()
        patches = [self._upscaler.cut(decoded.logits[i], tuple(box_of[i])) for i in kept]
        found = self._candidates([*patches], boxes[kept], stability[kept], decoded, kept)
        # Boxes may be too large: where one seems to be cut off, the mask is made and its own tells.
        masks, boxes = list(found.masks), found.boxes.copy()
        for i in np.flatnonzero(self._cut_off(boxes)):
            one = self.encode(found[np.array([i])])
            if one.rles[0].area:
                masks[i], boxes[i] = one.masks[0], one.boxes[0]
        whole = np.flatnonzero(~self._cut_off(boxes))
        return replace(found, masks=masks, boxes=boxes)[whole]

    def _exact(self, decoded: Decoded) -> Candidates:
        masks: list[Rle | Patch] = []
        boxes, stability, kept = [], [], []
        x, y = self._crop.box[:2]
        for i, logits in enumerate(iter_resized_logits(decoded.logits, self._transform)):
            score = stability_scores(logits[None], self._settings.stability_score_offset)
            if not self._steady(score)[0]:
                continue
            mask = logits > MASK_THRESHOLD
            box = mask_boxes(mask[None]) + np.array([x, y, x, y], np.float32)
            if self._cut_off(box)[0]:
                continue
            masks.append(Rle.encode_part(mask, (y, x), self._image_size))
            boxes.append(box)
            stability.append(score)
            kept.append(i)
        return self._candidates(
            masks,
            np.concatenate([np.zeros((0, 4), np.float32), *boxes]),
            np.concatenate([np.zeros(0, np.float32), *stability]),
            decoded,
            np.array(kept, np.intp),
        )

    def _steady(self, scores: Floats) -> NDArray[np.bool_]:
        # In float32 like the scores: a threshold of 0.95 keeps a score of 0.95.
        least = np.float32(self._settings.stability_score_thresh)
        return scores >= least if least > 0 else np.ones(len(scores), bool)

    def _cut_off(self, boxes: Floats) -> NDArray[np.bool_]:
        return near_crop_edge(boxes, self._crop.box, self._image_size)

    def _candidates(
        self,
        masks: list[Rle | Patch],
        boxes: Floats,
        stability: Floats,
        decoded: Decoded,
        kept: NDArray[np.intp],
    ) -> Candidates:
        return Candidates(
            masks,
            boxes,
            decoded.iou[kept],
            stability,
            decoded.points[kept] + self._crop.box[:2],
            decoded.prompts[kept],
            np.tile(np.array(self._crop.box, np.int64), (len(kept), 1)),
        )
