"""Segment files and write what was found: the work of ``samdeploy predict``."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samdeploy.cli.console import progress_bar
from samdeploy.errors import InputError, OutputError
from samdeploy.files import atomic_path, fitting_name, output_error
from samdeploy.image_options import DEFAULT_OPTIONS, ImageOptions
from samdeploy.images import load_image
from samdeploy.masks.masks import Masks
from samdeploy.prompts import Prompt
from samdeploy.sam import SAM
from samdeploy.sources import is_video, iter_video
from samdeploy.text import as_utf8, printable
from samdeploy.whole_image.prefetch import behind, prefetch
from samdeploy.yolo.facade import YOLO

#: Bytes of the longest end that a result's name may get: a number and ``.json``.
_LONGEST_END = 16


@dataclass(frozen=True)
class Result:
    """One image or video frame: what was found, in how many seconds, and which files were
    written."""

    name: str
    masks: Masks
    seconds: float
    picture: Path
    record: Path


@dataclass(frozen=True)
class LeftOut:
    """One of several images for which nothing was written, and the sentence that says why."""

    name: str
    reason: str


@dataclass(frozen=True)
class _Frame:
    """``name`` is to be shown, results are called like ``stem``; ``pixels`` are RGB uint8
    ``[H, W, 3]``, or why there are none."""

    path: Path
    name: str
    stem: str
    pixels: NDArray[np.uint8] | InputError


@dataclass(frozen=True)
class _Found:
    """What was found in a frame, in how many seconds; results are called like ``stem``."""

    frame: _Frame
    masks: Masks
    seconds: float
    stem: str


@contextmanager
def output_folder(output: str | None, project: str, name: str) -> Iterator[Path]:
    """The folder for results: ``output``, or ``project/name``, ``project/name2``, ``name3``...,
    the first that is free. It is removed again when nothing was written into it.

    Raises:
        OutputError: it cannot be written to.
    """
    try:
        folder, made = _claim(output, project, name)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise output_error(output or project, error) from error
    try:
        yield folder
    finally:
        for path in made:
            with suppress(OSError):  # it holds results
                path.rmdir()


def predict_files(
    model: SAM | YOLO,
    sources: Sequence[Path],
    folder: Path,
    prompts: Sequence[Prompt],
    settings: Mapping[str, Any],
    multimask: bool,
    options: ImageOptions = DEFAULT_OPTIONS,
) -> Iterator[Result | LeftOut]:
    """Yield a :class:`Result` per image or video frame after its overlay and JSON are written.

    Without prompts the whole image is segmented. ``settings`` are those of the model's family. One
    of several files that cannot be read, or that the prompts do not fit, is left out.

    Raises:
        InputError: the only file cannot be used.
        OutputError: results cannot be written.
    """
    names = {"model": as_utf8(model.source)}

    def write(found: _Found | LeftOut) -> Result | LeftOut:
        if isinstance(found, LeftOut):
            return found
        frame, masks = found.frame, found.masks
        path = folder / f"{found.stem}.json"
        record = write_record(path, {"image": as_utf8(frame.path), **names}, masks)
        picture = masks.save(path.with_suffix(".png"), **_marks(prompts))
        return Result(frame.name, masks, found.seconds, picture, record)

    asked = {**settings, "multimask": True} if multimask else dict(settings)
    found = _segmented(model, _frames(sources, options), folder, prompts, asked, len(sources) == 1)
    # Overlays are drawn and written while the next image is segmented.
    yield from behind(write, found)


def _segmented(
    model: SAM | YOLO,
    frames: Iterator[_Frame],
    folder: Path,
    prompts: Sequence[Prompt],
    settings: Mapping[str, Any],
    only: bool,
) -> Iterator[_Found | LeftOut]:
    """What is found in each frame. One that cannot be used is left out; it is an error where it is
    the ``only`` file."""
    taken: set[str] = set()
    for frame in prefetch(frames):
        try:
            if isinstance(frame.pixels, InputError):
                raise frame.pixels
            started = time.perf_counter()
            masks = _segment(model, frame.name, frame.pixels, prompts, settings)
            seconds = time.perf_counter() - started
        except OutputError:
            raise
        except InputError as error:
            if only:
                raise
            yield LeftOut(frame.name, str(error))
            continue
        yield _Found(frame, masks, seconds, free_stem(frame.stem, folder, taken))


def _segment(
    model: SAM | YOLO,
    name: str,
    pixels: NDArray[np.uint8],
    prompts: Sequence[Prompt],
    settings: Mapping[str, Any],
) -> Masks:
    try:
        if prompts:
            return model.predict(pixels, prompts=prompts, channel_order="rgb", **settings)
        with progress_bar(printable(name)) as progress:
            return model.generate(pixels, progress=progress, channel_order="rgb", **settings)
    except MemoryError as error:
        height, width = pixels.shape[:2]
        raise InputError(
            f"an image of {width} x {height} pixels does not fit into memory; make it smaller."
        ) from error


def _claim(output: str | None, project: str, name: str) -> tuple[Path, list[Path]]:
    """The folder, and what was made for it, innermost first."""
    folder = Path(output or project)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    number = 1
    while not output:
        folder = Path(project) / (name if number == 1 else f"{name}{number}")
        with suppress(FileExistsError):  # taken, perhaps by another process a moment ago
            folder.mkdir()
            return folder, [folder, *made]
        number += 1
    return folder, made


def check_apart(sources: Sequence[Path], folder: Path) -> None:
    """Raise :class:`InputError` when results would overwrite a source."""
    if any(path.parent.resolve() == folder.resolve() for path in sources):
        raise InputError(
            f"output '{folder}' is the folder of the source images, which results could "
            "overwrite; choose another output."
        )


def write_record(path: Path, names: Mapping[str, str], masks: Masks) -> Path:
    """Write ``names`` and masks as JSON, whole or not at all; returns ``path``."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps({**names, **masks.to_json()}), encoding="utf-8")
    return path


def free_stem(stem: str, folder: Path, taken: set[str]) -> str:
    """A file name that fits into ``folder`` and that no earlier image has: a.jpg and a.png must not
    overwrite each other. It is added to ``taken``."""
    stem = fitting_name(stem, folder, _LONGEST_END)
    candidates = chain([stem], (f"{stem}_{number}" for number in count(2)))
    # Names that differ only in case are one file on some systems.
    free = next(candidate for candidate in candidates if candidate.lower() not in taken)
    taken.add(free.lower())
    return free


def _marks(prompts: Sequence[Prompt]) -> dict[str, Any]:
    """Marks of the prompts on the picture."""
    points, labels, boxes = [], [], []
    for prompt in prompts:
        if prompt.points is not None:
            own = np.asarray(prompt.points, float).reshape(-1, 2)
            points += own.tolist()
            kinds = [1] * len(own) if prompt.labels is None else prompt.labels
            labels += np.asarray(kinds).reshape(-1).tolist()
        if prompt.box is not None:
            boxes.append(np.asarray(prompt.box, float).reshape(-1).tolist())
    return {"points": points or None, "labels": labels or None, "boxes": boxes or None}


def _frames(sources: Sequence[Path], options: ImageOptions) -> Iterator[_Frame]:
    """Every image, and every frame of a video."""
    for path in sources:
        try:
            if is_video(path):
                for index, pixels in enumerate(iter_video(path, options), 1):
                    stem = f"{path.stem}_{index:06d}"
                    yield _Frame(path, f"{path.name} {index}", stem, pixels)
            else:
                yield _Frame(path, path.name, path.stem, load_image(path, options=options))
        except InputError as error:
            yield _Frame(path, path.name, path.stem, error)
