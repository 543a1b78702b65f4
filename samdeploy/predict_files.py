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
from PIL import Image

from samdeploy.console import progress_bar
from samdeploy.errors import InputError
from samdeploy.files import atomic_path
from samdeploy.images import is_video, iter_video, load_image
from samdeploy.masks import Masks
from samdeploy.prefetch import prefetch
from samdeploy.prompts import Prompt
from samdeploy.sam import SAM
from samdeploy.yolo.facade import YOLO


@dataclass(frozen=True)
class Result:
    """One image or video frame: what was found, in how many seconds, and which files were
    written."""

    name: str
    masks: Masks
    seconds: float
    picture: Path
    record: Path


@contextmanager
def output_folder(output: str | None, project: str, name: str) -> Iterator[Path]:
    """The folder for results: ``output``, or ``project/name``, ``project/name2``, ``name3``...,
    the first that is free. It is removed again when nothing was written into it.

    Raises:
        InputError: it cannot be written to.
    """
    try:
        folder, made = _claim(output, project, name)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"'{output or project}' cannot be written to ({error.strerror}); choose another output."
        ) from error
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
) -> Iterator[Result]:
    """Yield a :class:`Result` per image or video frame after its overlay and JSON are written.

    Without prompts the whole image is segmented. ``settings`` are those of the model's family.
    """
    taken: set[str] = set()
    marks = _marks(prompts)
    for path, name, stem, image in prefetch(_images(sources)):
        started = time.perf_counter()
        if prompts:
            asked: dict[str, Any] = {**settings, "multimask": True} if multimask else {**settings}
            found = model.predict(image, prompts=prompts, **asked)
        else:
            with progress_bar(name) as progress:
                found = model.generate(image, progress=progress, **settings)
        content = {"image": str(path), "model": str(model.source), **found.to_json()}
        seconds = time.perf_counter() - started
        stem = _free_stem(stem, taken)
        record = folder / f"{stem}.json"
        with atomic_path(record) as temporary:
            temporary.write_text(json.dumps(content))
        picture = found.save(folder / f"{stem}.png", **marks)
        yield Result(name, found, seconds, picture, record)


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


def _free_stem(stem: str, taken: set[str]) -> str:
    """A file name that no earlier image has: a.jpg and a.png must not overwrite each other."""
    candidates = chain([stem], (f"{stem}_{number}" for number in count(2)))
    # Names that differ only in case are one file on some systems.
    free = next(candidate for candidate in candidates if candidate.lower() not in taken)
    taken.add(free.lower())
    return free


def _marks(prompts: Sequence[Prompt]) -> dict[str, Any]:
    """What the prompts add to the picture."""
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


def _images(sources: Sequence[Path]) -> Iterator[tuple[Path, str, str, Image.Image]]:
    """File, name to show, name for results, and picture; of every frame for a video."""
    for path in sources:
        if is_video(path):
            for index, frame in enumerate(iter_video(path), 1):
                stem = f"{path.stem}_{index:06d}"
                yield path, f"{path.name} {index}", stem, Image.fromarray(frame)
        else:
            yield path, path.name, path.stem, Image.fromarray(load_image(path))
