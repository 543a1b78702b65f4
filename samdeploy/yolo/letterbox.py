"""How an image becomes the input of a YOLO network, and boxes of the input boxes of the image.

The convention is Ultralytics': the image is scaled to fit, centred, and surrounded with grey.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Size = tuple[int, int]

#: What surrounds the image, in 0-255.
GREY = 114


@dataclass(frozen=True)
class Letterbox:
    """Sizes are (height, width) in pixels.

    Attributes:
        original_size: of the image.
        input_size: of the network's input.
        resized: of the image within the input.
        top, left: where it begins there.
    """

    original_size: Size
    input_size: Size
    resized: Size
    top: int
    left: int

    @classmethod
    def fit(cls, original_size: Size, size: Size, stride: int | None = None) -> Letterbox:
        """An image of ``original_size`` in an input of ``size``.

        With ``stride`` the input may be smaller than ``size``: it is then cut to the multiple of
        ``stride`` next above the resized image, for graphs that take any size.
        """
        scale = min(size[0] / original_size[0], size[1] / original_size[1])
        height, width = (max(1, round(side * scale)) for side in original_size)
        spare = size[0] - height, size[1] - width
        if stride is not None:
            spare = spare[0] % stride, spare[1] % stride
        # An odd pixel goes to the bottom or right; the 0.1 keeps a half from rounding up.
        top, left = (round(pixels / 2 - 0.1) for pixels in spare)
        return cls(original_size, (height + spare[0], width + spare[1]), (height, width), top, left)

    def image_to_input(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """RGB uint8 ``[H, W, 3]`` to float32 ``[1, 3, height, width]`` in 0-1."""
        height, width = self.resized
        canvas = np.full((*self.input_size, 3), GREY, np.uint8)
        if image.shape[:2] != self.resized:
            image = np.asarray(
                cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8
            )
        canvas[self.top : self.top + height, self.left : self.left + width] = image
        pixels = np.ascontiguousarray(canvas.transpose(2, 0, 1)[None], np.float32)
        pixels /= 255
        return pixels

    def boxes_to_image(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """``[N, 4]`` x1 y1 x2 y2 from input to image pixels, cut at the image's border."""
        height, width = self.original_size
        scale_y, scale_x = self.resized[0] / height, self.resized[1] / width
        offset, scale = _pairs(self.left, self.top), _pairs(scale_x, scale_y)
        return np.asarray(np.clip((boxes - offset) / scale, 0, _pairs(width, height)))


def _pairs(x: float, y: float) -> NDArray[np.float32]:
    return np.array([x, y, x, y], np.float32)
