"""The only place that knows how pixels of an image map to pixels of the encoder input.

Two frames, both (x, y) in pixels with the origin at the top left corner:

* *image frame*: the picture as the user gave it, ``original_size`` (height, width);
* *input frame*: the picture resized to ``input_size``, of which SAM makes the longer side ``S``,
  and padded on the right and at the bottom to ``S x S``; SAM 2 stretches it to ``S x S``. Low-res
  logits are this frame at a quarter of its resolution.

The rules are SAM's and SAM 2's (arXiv:2304.02643, arXiv:2408.00714 and their reference
implementations): sizes round half up, logits are resized with plain bilinear interpolation and
half-pixel centres.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samdeploy.constants import BINARY_MASK_LOGIT, MASK_THRESHOLD

Size = tuple[int, int]
Floats = NDArray[np.float32]


def resized_size(height: int, width: int, long_side: int) -> Size:
    """Size after resizing by the longer side; halves round up, a side is never below 1 pixel."""
    scale = long_side / max(height, width)
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


@dataclass(frozen=True)
class Transform:
    """The map between an image and the encoder input made from it, each side by its own factor.

    ``one_step``: low-res logits become those of the image in one interpolation, as SAM 2's do,
    instead of two, by way of the input.
    """

    original_size: Size
    input_size: Size
    image_size: int
    one_step: bool = False

    @classmethod
    def fit(cls, original_size: Size, image_size: int) -> Transform:
        """SAM's: ``original_size`` (height, width) by its longer side into ``image_size``²."""
        height, width = original_size
        return cls((height, width), resized_size(height, width, image_size), image_size)

    @classmethod
    def square(cls, original_size: Size, image_size: int) -> Transform:
        """SAM 2's: ``original_size`` (height, width) stretched to ``image_size``²."""
        height, width = original_size
        return cls((height, width), (image_size, image_size), image_size, one_step=True)

    @property
    def scale(self) -> NDArray[np.float64]:
        """Input pixels per image pixel along x and y; rounding makes the two differ slightly."""
        (height, width), (new_height, new_width) = self.original_size, self.input_size
        return np.array([new_width / width, new_height / height])

    def points_to_input(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """``[..., 2]`` from the image frame to the input frame, without clipping."""
        return np.asarray(points, np.float64) * self.scale

    def points_to_image(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Inverse of :meth:`points_to_input`."""
        return np.asarray(points, np.float64) / self.scale

    @property
    def low_res_size(self) -> Size:
        """(height, width) of the part of low-res logits that is not all padding."""
        return -(-self.input_size[0] // 4), -(-self.input_size[1] // 4)

    def logits_to_image(self) -> tuple[Floats, Floats]:
        """Matrices ``rows`` ``[height, s]`` and ``columns`` ``[width, s]``: what
        :func:`resize_logits` does to logits ``x`` ``[s, s]`` is ``rows @ x @ columns.T``."""
        if self.one_step:
            height, width = self.original_size
            side = self.image_size // 4
            return interpolation_matrix(side, height), interpolation_matrix(side, width)
        to_input = interpolation_matrix(self.image_size // 4, self.image_size)
        rows, columns = (
            interpolation_matrix(valid, length) @ to_input[:valid]
            for valid, length in zip(self.input_size, self.original_size, strict=True)
        )
        return rows, columns

    def boxes_to_input(self, boxes: NDArray[np.floating]) -> NDArray[np.float64]:
        """``[..., 4]`` boxes x1 y1 x2 y2 from the image frame to the input frame."""
        corners = np.asarray(boxes, np.float64)
        return self.points_to_input(corners.reshape(-1, 2, 2)).reshape(corners.shape)

    def boxes_to_image(self, boxes: NDArray[np.floating]) -> NDArray[np.float64]:
        """Inverse of :meth:`boxes_to_input`."""
        corners = np.asarray(boxes, np.float64)
        return self.points_to_image(corners.reshape(-1, 2, 2)).reshape(corners.shape)


def interpolation_matrix(length: int, new_length: int) -> Floats:
    """``[new_length, length]``: bilinear interpolation along one axis, half-pixel centres, the
    outermost values continued beyond the ends."""
    centres = (np.arange(new_length) + 0.5) * (length / new_length) - 0.5
    centres = centres.clip(0, length - 1)
    left = np.minimum(centres.astype(np.intp), max(0, length - 2))
    share = centres - left
    matrix = np.zeros((new_length, length), np.float32)
    rows = np.arange(new_length)
    matrix[rows, left] = 1 - share
    matrix[rows, np.minimum(left + 1, length - 1)] += share
    return matrix


def resize_image(image: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """``[H, W, 3]`` to ``size`` (height, width), bilinear and antialiased when it shrinks.

    Pillow is the reference: SAM was trained on its resampling, and OpenCV's differs visibly.
    """
    height, width = size
    if image.shape[:2] == size:
        return image
    # Along the rows first: Pillow 13 begins with the columns of tall images, and what is rounded to
    # 8 bits between the two would depend on the version.
    rows = Image.fromarray(image).resize((width, image.shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(rows.resize((width, height), Image.Resampling.BILINEAR))


def resize_logits(logits: Floats, transform: Transform) -> Floats:
    """Low-res logits ``[N, s, s]`` to the image frame: ``[N, height, width]``.

    Bilinear to ``S x S``, cut to the part that is not padding, bilinear to the image; or at once.
    """
    height, width = transform.original_size
    out = np.empty((len(logits), height, width), np.float32)
    for target, image_logits in zip(out, iter_resized_logits(logits, transform), strict=True):
        target[:] = image_logits
    return out


def resize_masks(logits: Floats, transform: Transform) -> NDArray[np.bool_]:
    """Masks ``[N, height, width]`` of low-res logits; holds one full-size logit map at a time."""
    height, width = transform.original_size
    out = np.empty((len(logits), height, width), bool)
    for target, image_logits in zip(out, iter_resized_logits(logits, transform), strict=True):
        np.greater(image_logits, MASK_THRESHOLD, out=target)
    return out


def iter_resized_logits(logits: Floats, transform: Transform) -> Iterator[Floats]:
    """:func:`resize_logits`, one mask at a time."""
    (height, width), (valid_height, valid_width) = transform.original_size, transform.input_size
    side = transform.image_size
    for one in logits:
        if transform.one_step:
            at_once = cv2.resize(one, (width, height), interpolation=cv2.INTER_LINEAR)
            yield np.asarray(at_once, np.float32)
            continue
        full = cv2.resize(one, (side, side), interpolation=cv2.INTER_LINEAR)
        valid = np.ascontiguousarray(full[:valid_height, :valid_width])
        image_logits = cv2.resize(valid, (width, height), interpolation=cv2.INTER_LINEAR)
        yield np.asarray(image_logits, np.float32)


def mask_to_logits(mask: NDArray[np.bool_], transform: Transform, side: int) -> Floats:
    """A binary mask ``[height, width]`` in the image frame as low-res prompt logits.

    Area-averaged into the ``side x side`` low-res frame and mapped to +-8; padding is outside.
    """
    valid_height, valid_width = transform.input_size
    frame = np.zeros((transform.image_size, transform.image_size), np.float32)
    frame[:valid_height, :valid_width] = cv2.resize(
        mask.astype(np.float32), (valid_width, valid_height), interpolation=cv2.INTER_AREA
    )
    coverage = np.asarray(cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA), np.float32)
    return np.asarray((2 * coverage - 1) * BINARY_MASK_LOGIT, np.float32)
