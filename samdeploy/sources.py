"""Files, folders, patterns and videos as users name them to single images."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samdeploy.errors import InputError
from samdeploy.files import check_file
from samdeploy.image_options import DEFAULT_OPTIONS, ImageOptions
from samdeploy.images import ImageSource, image_suffixes
from samdeploy.notices import notice
from samdeploy.text import as_utf8, shown

VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"})

T = TypeVar("T")

#: Of what is passed over, how many names are shown.
_NAMED = 3
#: Containers tell their frames, or some only how long they are: fewer than this share were lost.
_MOST_FRAMES = 0.9


def list_sources(source: str | os.PathLike[str]) -> list[Path]:
    """Files that ``source`` names: one file, the images of a folder, or what a glob pattern
    matches; sorted. Files and folders that are passed over are counted and named in a notice.

    Raises:
        InputError: nothing there, or a folder without images.
    """
    name = os.fspath(source)
    if not name:
        raise InputError("the source is an empty name; expected an image, a folder or a pattern.")
    try:
        if os.path.isdir(name):  # noqa: PTH112  # unlike Path's, it raises for no name
            return _images(name, Path(name).iterdir(), image_suffixes(), "holds no images")
        if not os.path.lexists(name) and glob.has_magic(name):
            # Path.glob takes no absolute pattern.
            matches = glob.glob(_literal_start(name), recursive=True)  # noqa: PTH207
            known = image_suffixes() | VIDEO_SUFFIXES
            return _images(name, map(Path, matches), known, "matches no image or video")
    except OSError as error:
        raise InputError(
            f"source '{as_utf8(name)}' cannot be listed ({error.strerror or error}); change its "
            "permissions."
        ) from error
    return [check_file(name, "source")]


def iter_sources(
    source: ImageSource, options: ImageOptions = DEFAULT_OPTIONS
) -> Iterator[ImageSource]:
    """An image itself, or every image and video frame of what :func:`list_sources` finds."""
    if not isinstance(source, (str, os.PathLike)):
        yield source
        return
    for path in list_sources(source):
        if is_video(path):
            yield from map(Image.fromarray, iter_video(path, options))
        else:
            yield path


def is_video(path: str | os.PathLike[str]) -> bool:
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def iter_video(
    path: str | os.PathLike[str], options: ImageOptions = DEFAULT_OPTIONS
) -> Iterator[NDArray[np.uint8]]:
    """Frames of a video as RGB uint8 ``[H, W, 3]``. A notice tells when it ends before its time.

    Raises:
        InputError: the file is missing, OpenCV finds no frame in it, or its frames have more than
            ``options.max_pixels``.
    """
    capture = cv2.VideoCapture(os.fspath(check_file(path, "video")))
    told, count = capture.get(cv2.CAP_PROP_FRAME_COUNT), 0
    try:
        while True:
            ok, frame = capture.read()
            if not ok:
                break
            count += 1
            pixels = np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)
            _check_pixels(path, pixels, options)
            yield pixels
    finally:
        capture.release()
    if not count:
        raise InputError(
            f"video '{as_utf8(path)}' has no readable frame; expected a file that OpenCV can "
            "decode."
        )
    if count < _MOST_FRAMES * told:
        notice(
            "video '%s': %d of about %d frames could be read; it may be cut off or damaged.",
            as_utf8(path), count, told,
        )  # fmt: skip


def _check_pixels(
    path: str | os.PathLike[str], pixels: NDArray[np.uint8], options: ImageOptions
) -> None:
    height, width = pixels.shape[:2]
    if options.max_pixels is not None and height * width > options.max_pixels:
        raise InputError(
            f"video '{as_utf8(path)}' has frames of {width} x {height} = {width * height} pixels; "
            f"expected at most {options.max_pixels}, raise max_pixels= if you trust it."
        )


def _images(source: str, found: Iterable[Path], suffixes: frozenset[str], none: str) -> list[Path]:
    """Those of ``found`` that are files with one of the ``suffixes``."""
    chosen: list[Path] = []
    passed: list[Path] = []
    for path in sorted(found):
        wanted = path.suffix.lower() in suffixes and path.is_file()
        (chosen if wanted else passed).append(path)
    if not chosen:
        raise InputError(
            f"'{as_utf8(source)}' {none}{_described(passed)}; expected names that end in "
            f"{', '.join(sorted(suffixes))}."
        )
    if passed:
        notice(
            "%s: what is no image was passed over%s.", shown(as_utf8(source)), _described(passed)
        )
    return chosen


def _described(passed: list[Path]) -> str:
    """How many of which kind, and the first names; empty for none."""
    if not passed:
        return ""
    kinds = Counter(
        "folder" if path.is_dir() else path.suffix.lower() or "no suffix" for path in passed
    )
    counts = ", ".join(f"{count} {as_utf8(kind)}" for kind, count in kinds.most_common())
    names = ", ".join(as_utf8(path.name) for path in passed[:_NAMED])
    more = "..." if len(passed) > _NAMED else ""
    return f" ({counts}: {names}{more})"


def _literal_start(pattern: str) -> str:
    """``pattern`` with those of its first folders escaped that exist as they are written: a folder
    called ``a[1]`` is meant where there is one."""
    done = Path(Path(pattern).anchor)
    parts = Path(pattern).relative_to(done).parts
    for index, part in enumerate(parts):
        if not os.path.lexists(done / part):
            return os.path.join(glob.escape(str(done)), *parts[index:])  # noqa: PTH118
        done /= part
    return glob.escape(str(done))
