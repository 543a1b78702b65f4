"""Segment files and write what was found: the work of ``samdeploy predict``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from samdeploy.images import is_video, iter_video, list_sources, load_image
from samdeploy.masks import Masks
from samdeploy.prompts import Prompt
from samdeploy.sam import SAM


@dataclass(frozen=True)
class Result:
    """One image: where it came from, what was found, which files were written."""

    name: str
    masks: Masks
    pixels: int
    seconds: float
    picture: Path
    record: Path


def next_folder(project: Path, name: str) -> Path:
    """``project/name``, or the first of ``name2``, ``name3``... that does not exist."""
    candidates = (project / (name if i == 1 else f"{name}{i}") for i in count(1))
    return next(folder for folder in candidates if not folder.exists())


def predict_files(
    sam: SAM,
    source: str,
    folder: Path,
    prompts: Sequence[Prompt],
    settings: Mapping[str, Any],
    multimask: bool,
) -> Iterator[Result]:
    """Yield a :class:`Result` per image or video frame after its overlay and JSON are written.

    Without prompts the whole image is segmented with ``settings``.
    """
    taken: set[str] = set()
    marks = _marks(prompts)
    for name, image in _images(source):
        started = time.perf_counter()
        if prompts:
            found = sam.predict(image, prompts=prompts, multimask=multimask)
        else:
            found = sam.generate(image, **settings)
        areas = found.areas  # computes the masks, so that the time shown includes them
        seconds = time.perf_counter() - started
        # a.jpg and a.png of one folder must not overwrite each other.
        stem = Path(name).stem
        stem = name.replace(".", "_") if stem in taken else stem
        taken.add(stem)
        yield Result(
            name,
            found,
            int(areas.sum()),
            seconds,
            found.save(folder / f"{stem}.png", **marks),
            found.save(folder / f"{stem}.json"),
        )


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


def _images(source: str) -> Iterator[tuple[str, Image.Image]]:
    """Names and pictures; a frame of a video is named after the video and its number."""
    for path in list_sources(source):
        if is_video(path):
            for index, frame in enumerate(iter_video(path), 1):
                yield f"{path.stem}_{index:06d}{path.suffix}", Image.fromarray(frame)
        else:
            yield path.name, Image.fromarray(load_image(path))
