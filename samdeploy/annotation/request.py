"""What is asked of :func:`samdeploy.auto_annotate`, checked before anything is opened."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from samdeploy.annotation.digests import digest_of
from samdeploy.annotation.engines import Engine
from samdeploy.annotation.journal import is_begun
from samdeploy.annotation.matching import fold
from samdeploy.annotation.store import STATE
from samdeploy.annotation.work import Cluster
from samdeploy.errors import InputError
from samdeploy.sources import is_video, list_sources
from samdeploy.text import as_utf8, shown
from samdeploy.whole_image.settings import WholeImageSettings

Mode: TypeAlias = Literal["detector", "boxes", "whole image"]

#: ``det_model`` for segmenting the whole image, without a detector.
NO_DETECTOR = "none"

#: Share of the images that boxes may say nothing about.
UNMATCHED = 0.5

_DETECTOR_DEFAULTS = {"conf": 0.25, "iou": 0.45, "imgsz": 640, "max_det": 300}


#: Settings that make it another data set: a folder that was begun with others is left alone.
FIXED = frozenset({"data", "format", "val", "images"})


def check_numbers(
    detector: Mapping[str, Any], min_area: int, simplify: float, val: float, unmatched: float
) -> None:
    for name, value, least, most in (
        ("conf", detector["conf"], 0.0, 1.0),
        ("iou", detector["iou"], 0.0, 1.0),
        ("simplify", simplify, 0.0, math.inf),
        ("val", val, 0.0, 0.99),
        ("unmatched", unmatched, 0.0, 1.0),
    ):
        numeric = isinstance(value, Real) and not isinstance(value, bool)
        if not numeric or not math.isfinite(value) or not least <= value <= most:
            limit = f"from 0 to {most:g}" if math.isfinite(most) else "from 0 up"
            raise InputError(f"{name}={shown(value)}; expected a number {limit}.")
    for name, value, least in (
        ("imgsz", detector["imgsz"], 1),
        ("max_det", detector["max_det"], 1),
        ("min_area", min_area, 0),
    ):
        if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
            raise InputError(f"{name}={shown(value)}; expected a whole number from {least:g} up.")


def check_classes(classes: Sequence[int] | int | None) -> frozenset[int] | None:
    if classes is None:
        return None
    given = np.atleast_1d(np.asarray(classes, object)).tolist()
    whole = [int(c) for c in given if isinstance(c, Integral) and not isinstance(c, bool)]
    if not whole or len(whole) != len(given) or min(whole) < 0:
        raise InputError(f"classes={shown(classes)}; expected class ids such as [0, 2].")
    return frozenset(whole)


def choose_mode(det_model: object, boxes: object) -> Mode:
    """Where boxes come from."""
    if boxes is not None:
        return "boxes"
    if isinstance(det_model, str) and det_model.lower() == NO_DETECTOR:
        return "whole image"
    return "detector"


def check_mode(
    mode: Mode,
    detector: Mapping[str, Any],
    unmatched: float,
    zoom: bool,
    whole_image: Mapping[str, Any],
) -> None:
    """Raise :class:`InputError` for an argument that the mode would ignore."""
    if mode == "whole image":
        WholeImageSettings.from_names(whole_image)
        if zoom:
            raise InputError(
                f"zoom=True enlarges what is around boxes, and det_model={NO_DETECTOR} has none; "
                "drop it."
            )
    elif whole_image:
        raise InputError(
            f"{', '.join(whole_image)} set whole-image mode; add det_model={NO_DETECTOR}, or drop "
            "them."
        )
    if mode != "boxes" and unmatched != UNMATCHED:
        raise InputError(f"unmatched={unmatched:g} is about boxes=; add them, or drop it.")
    if mode != "detector":
        changed = [name for name, value in _DETECTOR_DEFAULTS.items() if detector[name] != value]
        if changed:
            reason = "boxes= replaces" if mode == "boxes" else f"det_model={NO_DETECTOR} turns off"
            raise InputError(f"{', '.join(changed)} set the detector, which {reason}; drop them.")


def check_cluster(
    engine: Engine, workers: int | Sequence[int] | None, cpus: float | None, gpus: float | None
) -> Cluster:
    """What workers there are to be; refused for an engine that has none."""
    given = {"workers": workers, "worker_cpus": cpus, "worker_gpus": gpus}
    if not engine.elsewhere:
        named = [name for name, value in given.items() if value is not None]
        if named:
            raise InputError(
                f"{', '.join(named)} set the workers of engine=ray; add it, or drop them."
            )
        return Cluster()
    for name, value in (("worker_cpus", cpus), ("worker_gpus", gpus)):
        numeric = isinstance(value, Real) and not isinstance(value, bool)
        if value is not None and (not numeric or not math.isfinite(value) or value < 0):
            raise InputError(f"{name}={shown(value)}; expected a number from 0 up.")
    return Cluster(
        (1, None) if workers is None else _fewest_and_most(workers),
        1.0 if cpus is None else float(cpus),
        0.0 if gpus is None else float(gpus),
    )


def _fewest_and_most(workers: int | Sequence[int]) -> tuple[int, int]:
    counts = np.atleast_1d(np.asarray(workers, object)).tolist()
    whole = all(isinstance(n, Integral) and not isinstance(n, bool) for n in counts)
    if not whole or len(counts) not in (1, 2) or not 1 <= counts[0] <= counts[-1]:
        raise InputError(
            f"workers={shown(workers)}; expected their number, such as 4, or fewest and most, "
            "such as [1, 16]."
        )
    return int(counts[0]), int(counts[-1])


def list_images(data: str | PathLike[str]) -> tuple[list[Path], dict[str, str]]:
    """The images, in the order of their names, which must differ: labels are called like them. And
    those whose names are in no encoding, with the reason why they are left out."""
    paths: list[Path] = []
    nameless: dict[str, str] = {}
    stems: dict[str, Path] = {}
    for path in sorted(list_sources(data), key=lambda path: path.name):
        if is_video(path):
            raise InputError(f"'{path}' is a video; expected images, extract its frames first.")
        name = as_utf8(path.name)
        if name != path.name:
            nameless[name] = "its name is not UTF-8; rename it."
            continue
        other = stems.setdefault(fold(path.stem), path)
        if other is path:
            paths.append(path)
        elif other.name != path.name or not other.samefile(path):  # a loop of symbolic links
            raise InputError(
                f"'{other}' and '{path}' would share a label file; rename one of them."
            )
    return paths, nameless


def default_output(data: Path) -> Path:
    """``labels`` beside the folder as it is called, which may be a symbolic link."""
    path = Path(os.path.abspath(data))  # noqa: PTH100, without following links
    return (path if data.is_dir() else path.parent).parent / "labels"


def describe_images(names: Sequence[str]) -> str:
    """Their number, and a digest of all their names."""
    return f"{len(names)} names, {digest_of(name.encode() + b'/' for name in names)[:8]}"


def check_free(root: Path) -> None:
    """Raise :class:`InputError` when ``root`` holds something that is not of a run of ours."""
    if root.exists() and not root.is_dir():
        raise InputError(f"output_dir '{root}' is a file; choose a folder.")
    if root.is_dir() and not is_begun(root / STATE):
        strange = next((path.name for path in sorted(root.iterdir()) if path.name != STATE), None)
        if strange is not None:
            raise InputError(
                f"output_dir '{root}' holds '{strange}', which is not of an earlier run; choose "
                "another output_dir, so that nothing is overwritten."
            )
