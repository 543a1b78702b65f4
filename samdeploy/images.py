"""Images, folders and videos as users name them to RGB arrays."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from samdeploy.errors import InputError

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"})

ChannelOrder = Literal["bgr", "rgb"]
ImageSource: TypeAlias = "str | Path | NDArray[Any] | Image.Image"


def load_image(source: ImageSource, channel_order: ChannelOrder = "bgr") -> NDArray[np.uint8]:
    """Any supported image as RGB uint8 ``[H, W, 3]``.

    Args:
        source: a path (EXIF orientation is applied), a Pillow image, or an array ``[H, W]``,
            ``[H, W, 1]``, ``[H, W, 3]`` or ``[H, W, 4]`` (alpha is dropped) of uint8, or of uint16
            whose full range is scaled to 8 bits.
        channel_order: order of the channels of an *array*; BGR, as OpenCV reads, unless told.

    Raises:
        InputError: the file is missing or unreadable, or the array is none of the above.
    """
    if isinstance(source, (str, Path)):
        return _read_file(Path(source))
    if isinstance(source, Image.Image):
        return _from_pillow(source)
    if isinstance(source, np.ndarray):
        return _from_array(source, channel_order)
    raise InputError(
        f"an image of type {type(source).__name__}; expected a path, a NumPy array or a Pillow "
        "image."
    )


def list_sources(source: str | Path) -> list[Path]:
    """Files that ``source`` names: one file, the images of a folder, or a glob pattern; sorted.

    Raises:
        InputError: nothing there, or a folder without images.
    """
    path = Path(source)
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        if not found:
            raise InputError(
                f"folder '{source}' holds no images; expected files ending in "
                f"{', '.join(sorted(IMAGE_SUFFIXES))}."
            )
        return found
    if path.is_file():
        return [path]
    if glob.has_magic(str(source)):
        # Path.glob takes no absolute pattern.
        found = sorted(Path(p) for p in glob.glob(str(source), recursive=True))  # noqa: PTH207
        found = [p for p in found if p.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES]
        if found:
            return found
        raise InputError(f"pattern '{source}' matches no image or video; check the path.")
    raise InputError(f"'{source}' does not exist; expected an image, a video, a folder or a glob.")


def is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def iter_video(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Frames of a video as RGB uint8 ``[H, W, 3]``.

    Raises:
        InputError: OpenCV cannot open the file or finds no frame in it.
    """
    capture = cv2.VideoCapture(str(path))
    count = 0
    try:
        while capture.isOpened():
            ok, frame = capture.read()
            if not ok:
                break
            count += 1
            yield np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)
    finally:
        capture.release()
    if not count:
        raise InputError(
            f"video '{path}' has no readable frame; expected a file OpenCV can decode."
        )


def _read_file(path: Path) -> NDArray[np.uint8]:
    if not path.is_file():
        raise InputError(f"image '{path}' does not exist; expected a file.")
    try:
        with Image.open(path) as image:
            return _from_pillow(image)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise InputError(
            f"image '{path}' cannot be read; it is damaged or of an unknown format, try PNG."
        ) from error
    except Image.DecompressionBombError as error:
        raise InputError(f"image '{path}' is too large to be safe: {error}.") from error


def _from_pillow(image: Image.Image) -> NDArray[np.uint8]:
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or image.mode == "I":
        return _from_array(np.asarray(image).astype(np.uint16), "rgb")
    if image.mode == "F":
        raise InputError("a floating-point image; expected 8 or 16 bits per channel, convert it.")
    return np.asarray(image.convert("RGB"))


def _from_array(array: NDArray[Any], channel_order: ChannelOrder) -> NDArray[np.uint8]:
    if channel_order not in ("bgr", "rgb"):
        raise InputError(f"channel_order={channel_order!r}; expected 'bgr' or 'rgb'.")
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise InputError(
            f"an image array of shape {list(array.shape)}; expected [height, width] or "
            "[height, width, 1, 3 or 4]."
        )
    if array.dtype == np.uint16:
        array = np.round(array / 257).astype(np.uint8)
    if array.dtype != np.uint8:
        raise InputError(
            f"an image array of {array.dtype}; expected uint8 or uint16, scale and convert it."
        )
    colour = array[..., :3]
    if colour.shape[2] == 1:
        colour = np.repeat(colour, 3, axis=2)
    elif channel_order == "bgr":
        colour = colour[..., ::-1]
    return np.ascontiguousarray(colour)
