"""Pixels as messages carry them, by the names that ROS gives (``sensor_msgs/image_encodings``) and
dora uses too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from samdeploy.errors import InputError
from samdeploy.image_options import DEFAULT_OPTIONS, ImageOptions
from samdeploy.images import decode_image
from samdeploy.text import shown

#: ``[H, W]`` grey or ``[H, W, 3]`` RGB.
Pixels: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class _Encoding:
    """``channels`` of ``dtype`` a pixel, and what makes :data:`Pixels` of ``[H, W, channels]``."""

    dtype: str
    channels: int
    pixels: Callable[[Pixels], Pixels]


def _grey(stored: Pixels) -> Pixels:
    return stored[..., 0]


def _rgb(stored: Pixels) -> Pixels:
    return stored[..., :3]


def _bgr(stored: Pixels) -> Pixels:
    return stored[..., 2::-1]


def _by_opencv(code: int) -> Callable[[Pixels], Pixels]:
    def convert(stored: Pixels) -> Pixels:
        rows, columns = stored.shape[:2]
        if rows % 2 or columns % 2:
            raise InputError(
                f"an image of {columns} x {rows} pixels; expected even numbers in an encoding that "
                "shares colours between pixels."
            )
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(stored), code))

    return convert


#: What OpenCV calls ``8UC3`` has the order of its channels.
ENCODINGS: dict[str, _Encoding] = {
    "mono8": _Encoding("u1", 1, _grey),
    "8UC1": _Encoding("u1", 1, _grey),
    "rgb8": _Encoding("u1", 3, _rgb),
    "bgr8": _Encoding("u1", 3, _bgr),
    "8UC3": _Encoding("u1", 3, _bgr),
    "rgba8": _Encoding("u1", 4, _rgb),
    "bgra8": _Encoding("u1", 4, _bgr),
    "8UC4": _Encoding("u1", 4, _bgr),
    "mono16": _Encoding("u2", 1, _grey),
    "16UC1": _Encoding("u2", 1, _grey),
    "rgb16": _Encoding("u2", 3, _rgb),
    "bgr16": _Encoding("u2", 3, _bgr),
    "rgba16": _Encoding("u2", 4, _rgb),
    "bgra16": _Encoding("u2", 4, _bgr),
    "32FC1": _Encoding("f4", 1, _grey),
    "yuv422": _Encoding("u1", 2, _by_opencv(cv2.COLOR_YUV2RGB_UYVY)),
    "uyvy": _Encoding("u1", 2, _by_opencv(cv2.COLOR_YUV2RGB_UYVY)),
    "yuv422_yuy2": _Encoding("u1", 2, _by_opencv(cv2.COLOR_YUV2RGB_YUY2)),
    "yuyv": _Encoding("u1", 2, _by_opencv(cv2.COLOR_YUV2RGB_YUY2)),
    "bayer_rggb8": _Encoding("u1", 1, _by_opencv(cv2.COLOR_BayerRGGB2RGB)),
    "bayer_bggr8": _Encoding("u1", 1, _by_opencv(cv2.COLOR_BayerBGGR2RGB)),
    "bayer_gbrg8": _Encoding("u1", 1, _by_opencv(cv2.COLOR_BayerGBRG2RGB)),
    "bayer_grbg8": _Encoding("u1", 1, _by_opencv(cv2.COLOR_BayerGRBG2RGB)),
}


def raw_pixels(
    data: Any, encoding: str, height: int, width: int, step: int = 0, big_endian: bool = False
) -> Pixels:
    """The pixels of an uncompressed image, without a copy where the rows follow each other.

    Args:
        data: bytes, or what has a buffer of them.
        encoding: a name of :data:`ENCODINGS`.
        step: bytes from row to row; by default as many as a row has.
        big_endian: whether numbers of several bytes begin with the highest.

    Raises:
        InputError: another encoding, or sizes that do not fit each other.
    """
    stored = ENCODINGS.get(encoding)
    if stored is None:
        raise InputError(
            f"an image with the encoding {shown(encoding)}; expected {', '.join(ENCODINGS)}, "
            "convert it before."
        )
    dtype = np.dtype(stored.dtype)
    row = width * stored.channels * dtype.itemsize
    step = step or row
    flat = np.frombuffer(data, np.uint8)
    if height < 1 or width < 1 or step < row or len(flat) < step * height:
        raise InputError(
            f"an image of {width} x {height} pixels in {encoding} with {len(flat)} bytes and a "
            f"step of {step}; expected at least {row} bytes a row, and {max(step, row) * height} "
            "in all."
        )
    rows = np.ascontiguousarray(flat[: step * height].reshape(height, step)[:, :row])
    numbers = rows.view(dtype.newbyteorder(">" if big_endian else "<"))
    numbers = numbers.astype(dtype, copy=False)
    return stored.pixels(numbers.reshape(height, width, stored.channels))


def compressed_pixels(
    data: Any, format: str, options: ImageOptions = DEFAULT_OPTIONS
) -> NDArray[np.uint8]:
    """RGB uint8 ``[H, W, 3]`` of the file that a compressed message holds: JPEG, PNG, or any other
    that is read from disks.

    Raises:
        InputError: no such file, or depth that ``compressed_depth_image_transport`` has packed.
    """
    if "compressedDepth" in format:
        raise InputError(
            f"an image in the format {shown(format)}, which is no file; expected jpeg or png, "
            "subscribe to the raw topic."
        )
    return decode_image(bytes(data), "the compressed image", options)
