"""Images, folders and videos as users name them to RGB arrays."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from samdeploy.errors import InputError
from samdeploy.text import shown

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"})

ChannelOrder = Literal["bgr", "rgb"]
ImageSource: TypeAlias = "str | os.PathLike[str] | NDArray[Any] | Image.Image"

_UINT16_TO_UINT8 = 257  # 65535 / 255


def load_image(source: ImageSource, channel_order: ChannelOrder = "bgr") -> NDArray[np.uint8]:
    """Any supported image as RGB uint8 ``[H, W, 3]``; the array is the caller's own.

    Args:
        source: a path (EXIF orientation is applied), a Pillow image, or an array ``[H, W]``,
            ``[H, W, 1]``, ``[H, W, 3]`` or ``[H, W, 4]`` (alpha is dropped) of uint8, or of uint16
            whose full range is scaled to 8 bits.
        channel_order: order of the channels of an *array*; BGR, as OpenCV reads, unless told.

    Raises:
        InputError: the file is missing or unreadable, or the array is none of the above.
    """
    if isinstance(source, (str, os.PathLike)):
        return _read_file(Path(source))
    if isinstance(source, Image.Image):
        try:
            return _from_pillow(source)
        except (OSError, SyntaxError, ValueError) as error:  # Pillow decodes only now
            raise InputError(
                f"a Pillow image cannot be decoded ({error}); load it anew."
            ) from error
    if isinstance(source, np.ndarray):
        return _from_array(source, channel_order)
    raise InputError(
        f"an image of type {type(source).__name__}; expected a path, a NumPy array or a Pillow "
        "image."
    )


def list_sources(source: str | os.PathLike[str]) -> list[Path]:
    """Files that ``source`` names: one file, the images of a folder, or a glob pattern; sorted.

    Raises:
        InputError: nothing there, or a folder without images.
    """
    name = os.fspath(source)
    path = Path(name)
    if path.is_dir():
        return _some(
            [file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES],
            f"folder '{name}' holds no images; expected files ending in "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}.",
        )
    if path.is_file():
        return [path]
    if glob.has_magic(name):
        # Path.glob takes no absolute pattern.
        matches = map(Path, glob.glob(name, recursive=True))  # noqa: PTH207
        return _some(
            [file for file in matches if file.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES],
            f"pattern '{name}' matches no image or video; check the path.",
        )
    raise InputError(f"'{name}' does not exist; expected an image, a video, a folder or a glob.")


def iter_sources(source: ImageSource) -> Iterator[ImageSource]:
    """An image itself, or every image and video frame of what :func:`list_sources` finds."""
    if not isinstance(source, (str, os.PathLike)):
        yield source
        return
    for path in list_sources(source):
        if is_video(path):
            yield from map(Image.fromarray, iter_video(path))
        else:
            yield path


def _some(found: list[Path], otherwise: str) -> list[Path]:
    files = sorted(path for path in found if path.is_file())
    if not files:
        raise InputError(otherwise)
    return files


def is_video(path: str | os.PathLike[str]) -> bool:
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def iter_video(path: str | os.PathLike[str]) -> Iterator[NDArray[np.uint8]]:
    """Frames of a video as RGB uint8 ``[H, W, 3]``.

    Raises:
        InputError: the file is missing, or OpenCV finds no frame in it.
    """
    if not Path(path).is_file():
        raise InputError(f"video '{path}' does not exist; expected a file.")
    capture = cv2.VideoCapture(os.fspath(path))
    count = 0
    try:
        while True:
            ok, frame = capture.read()
            if not ok:
                break
            count += 1
            yield np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)
    finally:
        capture.release()
    if not count:
        raise InputError(
            f"video '{path}' has no readable frame; expected a file that OpenCV can decode."
        )


def _read_file(path: Path) -> NDArray[np.uint8]:
    if path.is_dir():
        raise InputError(f"image '{path}' is a folder; expected a file.")
    if not path.is_file():
        raise InputError(f"image '{path}' does not exist; expected a file.")
    try:
        with Image.open(path) as image:
            return _from_pillow(image)
    except PermissionError as error:
        raise InputError(f"image '{path}' may not be read; change its permissions.") from error
    except Image.DecompressionBombError as error:
        raise InputError(
            f"image '{path}' has more than {2 * (Image.MAX_IMAGE_PIXELS or 0)} pixels; raise "
            "PIL.Image.MAX_IMAGE_PIXELS if you trust it."
        ) from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise InputError(
            f"image '{path}' cannot be read; it is damaged or of an unknown format, try PNG."
        ) from error


def _from_pillow(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode == "F":
        raise InputError("a floating-point image; expected 8 or 16 bits per channel, convert it.")
    upright = ImageOps.exif_transpose(image)
    if upright.mode == "I" or upright.mode.startswith("I;16"):
        values = np.asarray(upright)
        if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
            raise InputError("a 32-bit image; expected 8 or 16 bits per channel, convert it.")
        return _from_array(values.astype(np.uint16), "rgb")
    return np.array(upright.convert("RGB"))


def _from_array(array: NDArray[Any], channel_order: ChannelOrder) -> NDArray[np.uint8]:
    if channel_order not in ("bgr", "rgb"):
        raise InputError(f"channel_order={shown(channel_order)}; expected 'bgr' or 'rgb'.")
    pixels = array[..., None] if array.ndim == 2 else array
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or not pixels.size:
        raise InputError(
            f"an image array of shape {list(array.shape)}; expected [height, width] or "
            "[height, width, 1, 3 or 4]."
        )
    if pixels.dtype.kind != "u" or pixels.dtype.itemsize > 2:
        raise InputError(
            f"an image array of {array.dtype}; expected uint8 or uint16, scale and convert it."
        )
    colour = pixels[..., :3]
    if colour.shape[2] == 1:
        colour = np.repeat(colour, 3, axis=2)
    elif channel_order == "bgr":
        colour = colour[..., ::-1]
    if colour.dtype.itemsize == 2:
        colour = np.round(colour / _UINT16_TO_UINT8)
    return np.array(colour, np.uint8, order="C")
