"""One image to its labelled masks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from samdeploy.annotation.boxes import BoxSource
from samdeploy.annotation.steps import Steps
from samdeploy.annotation.zoom import predict_zoomed
from samdeploy.masks.masks import Masks
from samdeploy.masks.postprocess import fill_holes, remove_islands
from samdeploy.masks.rle import Rle
from samdeploy.sam import SAM


@dataclass(frozen=True)
class Instance:
    """One labelled object: its mask and everything that belongs to it, so that no filter can part
    a mask from its class.

    Attributes:
        rle: the mask, at image size; never empty.
        class_id: of the box that asked for it, 0 for a whole image.
        predicted_iou: SAM's own estimate of the mask's quality.
        confidence: of the detection or label; ``None`` for a whole image.
    """

    rle: Rle
    class_id: int
    predicted_iou: float
    confidence: float | None = None


@dataclass(frozen=True)
class ReadImage:
    """An image file.

    Attributes:
        path: where it is.
        pixels: RGB uint8 ``[H, W, 3]``.
        image_digest, boxes_digest: of the file, and of the boxes that are known of it.
    """

    path: Path
    pixels: NDArray[np.uint8]
    image_digest: str = ""
    boxes_digest: str = ""


@dataclass(frozen=True)
class AnnotatedImage:
    """``dropped`` boxes gave no object: they have no area in the image, or their mask is empty."""

    source: ReadImage
    instances: tuple[Instance, ...]
    dropped: int = 0

    @property
    def path(self) -> Path:
        return self.source.path

    @property
    def image(self) -> NDArray[np.uint8]:
        """RGB uint8 ``[H, W, 3]``."""
        return self.source.pixels

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return int(self.image.shape[0]), int(self.image.shape[1])


def annotate_image(sam: SAM, source: BoxSource, image: ReadImage, steps: Steps) -> AnnotatedImage:
    """Segment ``image``. Masks of fewer than ``steps.min_area`` pixels are dropped, and empty ones
    always are.

    Raises:
        InputError: the boxes of this image cannot be used.
    """
    pixels = image.pixels
    found = source.find(image.path, pixels)
    if found is None:
        masks = sam.generate(pixels, channel_order="rgb", **steps.whole_image)
        return AnnotatedImage(image, _instances(masks, None, None, steps.min_area))
    asked = found.of_classes(steps.classes)
    wanted = asked.clipped((pixels.shape[0], pixels.shape[1]))
    if not len(wanted):
        return AnnotatedImage(image, (), len(asked))
    masks = (
        predict_zoomed(sam, pixels, wanted.boxes)
        if steps.zoom
        else sam.predict(pixels, bboxes=wanted.boxes, channel_order="rgb")
    )
    empty = int(np.count_nonzero(masks.areas == 0))
    instances = _instances(masks, wanted.classes, wanted.scores, steps.min_area)
    return AnnotatedImage(image, instances, len(asked) - len(wanted) + empty)


def _instances(
    masks: Masks,
    classes: NDArray[np.int64] | None,
    scores: NDArray[np.float32] | None,
    min_area: int,
) -> tuple[Instance, ...]:
    """``classes`` and ``scores`` are those of the prompts."""
    instances = []
    for one in masks:  # pixels of one mask at a time
        rle = _clean(one.rles[0], min_area)
        if rle.area < max(1, min_area):
            continue
        prompt = int(one.prompt_index[0])
        instances.append(
            Instance(
                rle,
                0 if classes is None else int(classes[prompt]),
                float(one.scores[0]),
                None if scores is None else float(scores[prompt]),
            )
        )
    return tuple(instances)


def _clean(rle: Rle, min_area: int) -> Rle:
    if min_area <= 1:
        return rle
    mask, filled = fill_holes(rle.decode(), min_area)
    mask, removed = remove_islands(mask, min_area)
    return Rle.encode(mask) if filled or removed else rle
