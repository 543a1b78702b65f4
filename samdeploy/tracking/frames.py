"""The frames of what is tracked in, in order."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samdeploy.errors import InputError
from samdeploy.image_options import ImageOptions
from samdeploy.images import ChannelOrder, ImageSource, load_image
from samdeploy.sources import is_video, iter_video, list_sources
from samdeploy.text import as_utf8, shown

#: A video, a folder, a glob pattern, or images of any kind one after the other.
Frames: TypeAlias = "str | os.PathLike[str] | Iterable[ImageSource]"


@dataclass(frozen=True)
class Frame:
    """``pixels`` RGB uint8 ``[H, W, 3]``; ``name`` is the file's, with the number of the frame from
    1 on in a video, or empty for an array."""

    name: str
    pixels: NDArray[np.uint8]


def iter_frames(
    source: Frames, channel_order: ChannelOrder, options: ImageOptions
) -> Iterator[Frame]:
    """The frames of ``source``, read as they are asked for. Files come in the order of their names,
    in which digits count as numbers: 2 is before 10.

    Raises:
        InputError: no frames, several videos, or frames of different sizes.
    """
    size: tuple[int, int] | None = None
    for index, frame in enumerate(_frames(source, channel_order, options)):
        height, width = frame.pixels.shape[:2]
        if size is None:
            size = height, width
        if (height, width) != size:
            raise InputError(
                f"frame {index}{frame.name and f' ({frame.name})'} has {width} x {height} pixels; "
                f"expected the {size[1]} x {size[0]} of the first frame, resize it."
            )
        yield frame
    if size is None:
        raise InputError("no frames to track in; give at least one image.")


def _frames(source: Frames, channel_order: ChannelOrder, options: ImageOptions) -> Iterator[Frame]:
    if isinstance(source, (str, os.PathLike)):
        yield from _of_files(clip_files(source), options)
        return
    # One picture is iterable as well, row by row.
    if isinstance(source, Image.Image) or not isinstance(source, Iterable):
        raise InputError(
            f"frames of type {type(source).__name__}; expected a video, a folder, a pattern, or "
            "images one after the other."
        )
    if isinstance(source, np.ndarray) and source.ndim != 4:
        raise InputError(
            f"an array of shape {list(source.shape)}; expected frames [T, height, width, channels] "
            "or a list of images."
        )
    for image in source:
        name = as_utf8(Path(image).name) if isinstance(image, (str, os.PathLike)) else ""
        yield Frame(name, load_image(image, channel_order, options))


def clip_files(source: str | os.PathLike[str]) -> list[Path]:
    """The one video that ``source`` names, or its pictures in order.

    Raises:
        InputError: nothing there, or several videos.
    """
    paths = list_sources(source)
    videos = sum(map(is_video, paths))
    if videos and len(paths) > 1:
        raise InputError(
            f"{shown(as_utf8(source))} names {len(paths)} files, of which {videos} are videos; "
            "expected one video, or pictures alone."
        )
    return sorted(paths, key=_place)


def _of_files(paths: list[Path], options: ImageOptions) -> Iterator[Frame]:
    for path in paths:
        if is_video(path):
            for number, pixels in enumerate(iter_video(path, options), 1):
                yield Frame(f"{as_utf8(path.name)} {number}", pixels)
        else:
            yield Frame(as_utf8(path.name), load_image(path, options=options))


def _place(path: Path) -> list[tuple[int, str]]:
    """A key to sort by: parts of the path, digits as numbers."""
    parts = re.findall(r"\d+|\D+", str(path))
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
