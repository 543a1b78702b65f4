"""Ways to bring an image to another size. Each takes RGB uint8 ``[H, W, 3]`` and a size (height,
width), and gives float32 ``[height, width, 3]`` in 0-255, not rounded."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samdeploy.geometry import Size

Floats: TypeAlias = NDArray[np.float32]
Resampling: TypeAlias = Callable[[NDArray[np.uint8], Size], Floats]

#: Of the filter that makes an image the coefficients of cubic B-splines (Unser 1999, "Splines: a
#: perfect fit for signal and image processing"), whose response falls with the distance as its
#: powers: behind so many pixels it is below the precision of float64.
_POLE = 3**0.5 - 2
_REACH = 28
#: Where a Gaussian ends, in standard deviations.
_TRUNCATED = 4.0


def _pillow(filter: Image.Resampling, image: NDArray[np.uint8], size: Size) -> Floats:
    """Antialiased when it shrinks."""
    height, width = size
    out = np.empty((height, width, 3), np.float32)
    for channel in range(3):
        plane = Image.fromarray(image[..., channel].astype(np.float32))
        out[..., channel] = np.asarray(plane.resize((width, height), filter))
    return out


def _area(image: NDArray[np.uint8], size: Size) -> Floats:
    """The mean of the pixels that each new one covers (OpenCV's ``INTER_AREA``)."""
    floats = image.astype(np.float32)
    return np.asarray(cv2.resize(floats, size[::-1], interpolation=cv2.INTER_AREA), np.float32)


def _spline(image: NDArray[np.uint8], size: Size) -> Floats:
    """Cubic B-splines through the pixels; a Gaussian goes first where it shrinks. As scikit-image's
    ``resize`` with ``order=3``, which keeps to the range of the image as well."""
    rows, columns = (
        _spline_matrix(length, new) for length, new in zip(image.shape[:2], size, strict=True)
    )
    out = np.empty((*size, 3), np.float32)
    for channel in range(3):
        out[..., channel] = rows @ image[..., channel].astype(np.float64) @ columns.T
    return out.clip(image.min(), image.max())


@lru_cache(maxsize=4)  # images of a folder are often of one size
def _spline_matrix(length: int, new_length: int) -> NDArray[np.float64]:
    """``[new_length, length]`` of :func:`_spline` along one axis, which is mirrored at its ends."""
    centres = (np.arange(new_length) + 0.5) * (length / new_length) - 0.5
    first = np.floor(centres).astype(np.intp) - 1
    reading = np.zeros((new_length, length))
    for tap in range(4):
        distance = np.abs(centres - (first + tap))
        near = 2 / 3 - distance**2 + distance**3 / 2
        weight = np.where(distance < 1, near, np.maximum(2 - distance, 0) ** 3 / 6)
        np.add.at(reading, (np.arange(new_length), _mirrored(first + tap, length)), weight)
    offsets = np.arange(-_REACH, _REACH + 1)
    response = -6 * _POLE / (1 - _POLE**2) * _POLE ** np.abs(offsets)
    matrix = reading @ _filter(length, offsets, response)
    sigma = max(0.0, (length / new_length - 1) / 2)
    radius = int(_TRUNCATED * sigma + 0.5)
    if radius:
        offsets = np.arange(-radius, radius + 1)
        bell = np.exp(-0.5 * (offsets / sigma) ** 2)
        matrix = matrix @ _filter(length, offsets, bell / bell.sum())
    return np.asarray(matrix)


def _filter(
    length: int, offsets: NDArray[np.intp], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A filter along an axis as a matrix ``[length, length]``."""
    matrix = np.zeros((length, length))
    places = np.arange(length)
    for offset, weight in zip(offsets, weights, strict=True):
        np.add.at(matrix, (places, _mirrored(places + offset, length)), weight)
    return matrix


def _mirrored(places: NDArray[np.intp], length: int) -> NDArray[np.intp]:
    """Places beyond the ends of an axis as those inside that they mirror; the ends stand once."""
    period = max(1, 2 * (length - 1))
    folded = np.abs((places + length - 1) % period - (length - 1)) if length > 1 else places * 0
    return np.asarray(folded, np.intp)


#: By the name in a :class:`~samdeploy.preprocess.Preprocess`.
RESAMPLINGS: dict[str, Resampling] = {
    "bilinear": partial(_pillow, Image.Resampling.BILINEAR),
    "bicubic": partial(_pillow, Image.Resampling.BICUBIC),
    "area": _area,
    "spline": _spline,
}
