"""Images of every kind to RGB arrays of 8 bits."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from samdeploy.depth import to_eight_bits
from samdeploy.errors import InputError, SamDeployError
from samdeploy.files import check_file
from samdeploy.image_options import DEFAULT_OPTIONS, ImageOptions
from samdeploy.notices import notice
from samdeploy.text import reason, shown

#: The formats that are opened, by Pillow's names, whatever a file is called. HEIF and JXL are there
#: when a plugin of Pillow that is registered brings them.
FORMATS = (
    "AVIF", "BMP", "DDS", "DIB", "FITS", "GIF", "HEIF", "ICO", "JPEG", "JPEG2000", "JXL", "MPO",
    "PCX", "PNG", "PPM", "PSD", "QOI", "SGI", "SUN", "TGA", "TIFF", "WEBP",
)  # fmt: skip
#: Those whose further frames or pages are pictures of their own.
_PAGED = frozenset({"AVIF", "GIF", "HEIF", "PNG", "TIFF", "WEBP"})

ChannelOrder = Literal["bgr", "rgb"]
ImageSource: TypeAlias = "str | os.PathLike[str] | NDArray[Any] | Image.Image"

#: EXIF orientation to what makes the stored picture ``[H, W, 3]`` upright.
_TURNS: dict[object, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}

# Pillow's size limit and Python's warnings are global: one thread at a time changes them.
_GLOBALS = threading.Lock()


def image_suffixes() -> frozenset[str]:
    """The ends of names (``.jpg``...) that files of :data:`FORMATS` have, in lower case."""
    Image.init()
    return frozenset(suffix for suffix, name in Image.EXTENSION.items() if name in FORMATS)


def load_image(
    source: ImageSource,
    channel_order: ChannelOrder = "bgr",
    options: ImageOptions = DEFAULT_OPTIONS,
) -> NDArray[np.uint8]:
    """Any supported image as RGB uint8 ``[H, W, 3]``; the array is the caller's own.

    Args:
        source: a path (EXIF orientation is applied), a Pillow image, or an array ``[H, W]``,
            ``[H, W, 1]``, ``[H, W, 3]`` or ``[H, W, 4]`` (alpha is dropped) of uint8 or uint16, or
            with ``options.window`` of any numbers.
        channel_order: order of the channels of an *array*; BGR, as OpenCV reads, unless told.
        options: what more than 8 bits mean, and how large an image may be.

    Raises:
        InputError: the file is missing or unreadable, or the array is none of the above.
    """
    if isinstance(source, (str, os.PathLike)):
        return _read_file(source, options)
    if isinstance(source, Image.Image):
        with _refused("a Pillow image"):  # Pillow decodes only now
            return _from_pillow(source, "a Pillow image", options)
    if isinstance(source, np.ndarray):
        return _from_array(source, channel_order, options)
    raise InputError(
        f"an image of type {type(source).__name__}; expected a path, a NumPy array or a Pillow "
        "image."
    )


def decode_image(
    content: bytes, name: str, options: ImageOptions = DEFAULT_OPTIONS
) -> NDArray[np.uint8]:
    """:func:`load_image` of what an image file holds; ``name`` is what messages call it.

    Raises:
        InputError: it is no image, damaged or too large.
    """
    return _read(BytesIO(content), lambda: np.frombuffer(content, np.uint8), name, options)


def _read_file(source: str | os.PathLike[str], options: ImageOptions) -> NDArray[np.uint8]:
    path = check_file(source, "image")
    return _read(path, lambda: np.fromfile(path, np.uint8), f"image '{path}'", options)


def _read(
    file: Path | BytesIO,
    content: Callable[[], NDArray[np.uint8]],
    name: str,
    options: ImageOptions,
) -> NDArray[np.uint8]:
    with _refused(name):
        image, doubted = _open(file, name, options)
    with _refused(name), image:
        deep = _deep_colour(content()) if _is_shortened(image) else None
        if deep is not None:
            return to_eight_bits(deep, options, name)
        return _from_pillow(image, name, options, doubted)


@contextmanager
def _refused(name: str) -> Iterator[None]:
    """Whatever a decoder raises becomes one sentence: damaged files make them fail in any way."""
    try:
        yield
    except SamDeployError:
        raise
    except MemoryError as error:
        raise InputError(f"{name} does not fit into memory; make it smaller.") from error
    except UnidentifiedImageError as error:
        raise InputError(
            f"{name} cannot be read; it is damaged or of an unknown format, try PNG."
        ) from error
    except Exception as error:
        why = reason(error).rstrip(".")
        cut = isinstance(error, EOFError) or "truncated" in why.lower()
        remedy = "it is truncated, copy it anew" if cut else "it is damaged, save it anew"
        raise InputError(f"{name} cannot be read ({why}); {remedy}.") from error


def _open(file: Path | BytesIO, name: str, options: ImageOptions) -> tuple[Image.Image, bool]:
    """The image, its pixels still undecoded, and whether Pillow had doubts about its EXIF data."""
    with _GLOBALS, warnings.catch_warnings(record=True) as doubts:
        warnings.simplefilter("always")
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            image = Image.open(file, formats=[f for f in FORMATS if f in _openable()])
        finally:
            Image.MAX_IMAGE_PIXELS = before
    # Pillow refuses from twice its limit on.
    most = options.max_pixels or (before and 2 * before)
    pixels = image.width * image.height
    if most and pixels > most:
        image.close()
        raise InputError(
            f"{name} has {image.width} x {image.height} = {pixels} pixels; expected at most "
            f"{most}, raise max_pixels= if you trust it."
        )
    return image, bool(doubts) and "exif" in image.info


def _is_shortened(image: Image.Image) -> bool:
    """Whether Pillow, which has colours of 8 bits only, will leave out the lower ones of 16."""
    tiles = getattr(image, "tile", ())
    return image.mode in ("LA", "RGB", "RGBA") and any(";16" in str(tile) for tile in tiles)


def _deep_colour(content: NDArray[np.uint8]) -> NDArray[np.uint16] | None:
    """Upright RGB ``[H, W, 3]`` of 16 bits, or ``None`` where OpenCV knows the format no better."""
    bgr = cv2.imdecode(content, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if bgr is None or bgr.dtype != np.uint16:
        return None
    return np.ascontiguousarray(bgr[..., ::-1], np.uint16)


def _openable() -> dict[str, Any]:
    Image.init()
    return Image.OPEN


def _from_pillow(
    image: Image.Image, name: str, options: ImageOptions, doubted: bool = False
) -> NDArray[np.uint8]:
    if image.format in _PAGED:
        with suppress(Exception):  # damage behind the first page is of no concern
            pages = getattr(image, "n_frames", 1)
            if pages > 1:
                notice("%s holds %d pages or frames; the first is taken.", name, pages)
    if _is_shortened(image):
        notice("%s has 16 bits a colour, of which the upper 8 are taken; save it as PNG.", name)
    image.load()
    turn = _TURNS[_orientation(image, name, doubted)]
    return np.array(turn(_pixels(image, name, options)), np.uint8, order="C")


def _orientation(image: Image.Image, name: str, doubted: bool) -> int:
    """EXIF orientation, 1 (upright) to 8; 1 where it cannot be read."""
    with _GLOBALS, warnings.catch_warnings(record=True) as doubts:
        warnings.simplefilter("always")
        try:
            value: Any = image.getexif().get(ExifTags.Base.Orientation)
        except Exception:  # a damaged tag fails in any way
            value, doubted = None, True
    if value is None and not doubted and not doubts:
        return 1
    if isinstance(value, int) and value in _TURNS:
        return value
    notice("%s has EXIF data whose orientation cannot be read; it is taken as upright.", name)
    return 1


def _pixels(image: Image.Image, name: str, options: ImageOptions) -> NDArray[np.uint8]:
    """As stored, RGB uint8 ``[H, W, 3]``."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _grey(to_eight_bits(np.asarray(image)[..., None], options, name))
    return np.asarray(image.convert("RGB"))


def _grey(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(values, 3, axis=2)


def _from_array(
    array: NDArray[Any], channel_order: ChannelOrder, options: ImageOptions
) -> NDArray[np.uint8]:
    if channel_order not in ("bgr", "rgb"):
        raise InputError(f"channel_order={shown(channel_order)}; expected 'bgr' or 'rgb'.")
    pixels = array[..., None] if array.ndim == 2 else array
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or not pixels.size:
        raise InputError(
            f"an image array of shape {list(array.shape)}; expected [height, width] or "
            "[height, width, 1, 3 or 4]."
        )
    unsigned = pixels.dtype.kind == "u" and pixels.dtype.itemsize <= 2
    if not unsigned and (options.window is None or pixels.dtype.kind not in "uif"):
        raise InputError(
            f"an image array of {array.dtype}; expected uint8 or uint16, scale and convert it."
        )
    colour = pixels[..., :3]
    if pixels.dtype != np.uint8:
        colour = to_eight_bits(colour, options, "an image array")
    if colour.shape[2] == 1:
        colour = _grey(colour)
    elif channel_order == "bgr":
        colour = colour[..., ::-1]
    return np.array(colour, np.uint8, order="C")
