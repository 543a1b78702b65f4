"""An image to the input of the encoder graph."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from samdeploy.constants import PIXEL_MEAN
from samdeploy.geometry import Size, Transform, resize_image


def preprocess(
    image: NDArray[np.uint8],
    image_size: int,
    transform_of: Callable[[Size, int], Transform] = Transform.fit,
) -> tuple[NDArray[np.float32], Transform]:
    """RGB uint8 ``[H, W, 3]`` -> float32 ``[1, 3, S, S]`` in 0-255, and the transform used.

    The padding on the right and at the bottom is the pixel mean, which the normalisation inside
    the graph turns into the zeros that SAM was trained with.
    """
    height, width = image.shape[:2]
    transform = transform_of((height, width), image_size)
    new_height, new_width = transform.input_size
    resized = resize_image(image, transform.input_size)
    mean = np.array(PIXEL_MEAN, np.float32).reshape(3, 1, 1)
    out = np.broadcast_to(mean, (1, 3, image_size, image_size)).copy()
    out[0, :, :new_height, :new_width] = resized.transpose(2, 0, 1)
    return out, transform
