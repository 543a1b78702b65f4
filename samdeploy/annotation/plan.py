"""The plan of a run, made before anything is opened or written."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from samdeploy.annotation.boxes import BoxSource
from samdeploy.annotation.classes import read_names
from samdeploy.annotation.dataset import Dataset, make_splits
from samdeploy.annotation.engines import Engine, find_engine
from samdeploy.annotation.journal import is_begun
from samdeploy.annotation.listing import list_images
from samdeploy.annotation.models import Models
from samdeploy.annotation.request import Request
from samdeploy.annotation.store import STATE, Store
from samdeploy.errors import InputError


@dataclass(frozen=True)
class Plan:
    """A request, and what it comes to on this machine.

    Attributes:
        request: what was asked.
        images: in the order of their names.
        nameless: images that are left out at once, and why.
        root: the output folder.
        splits: image name to ``train`` or ``val``; empty without a split.
        names: of the classes, by id; ``None`` for those that come with the boxes.
        models: how they are opened.
        engine: who does the images.
    """

    request: Request
    images: Sequence[Path]
    nameless: Mapping[str, str]
    root: Path
    splits: Mapping[str, str]
    names: Mapping[int, str] | None
    models: Models
    engine: Engine

    @property
    def total(self) -> int:
        """All images, those that are left out included."""
        return len(self.images) + len(self.nameless)

    def dataset(self, source: BoxSource) -> Dataset:
        """The data set to write, of boxes from ``source``."""
        return Dataset(
            Store(self.root.absolute()),
            source.names if self.names is None else self.names,
            source.category_ids,
            source.image_ids,
            {path.name: path for path in self.images},
            self.splits,
            self.request.simplify,
        )


def plan(request: Request) -> Plan:
    """Look at the images and the output folder.

    Raises:
        InputError: there are no images, or the folder holds something else than an earlier run.
        RuntimeUnavailableError: the engine cannot be used here.
    """
    names = None if request.names is None else read_names(Path(request.names))
    images, nameless = list_images(request.data)
    root = Path(request.output_dir) if request.output_dir else _default_output(Path(request.data))
    if request.val and len(images) < 2:
        raise InputError(f"val={request.val:g} of one image; expected two images or more to split.")
    _check_free(root)
    engine = find_engine(request.engine)
    models = _models(request)
    if engine.elsewhere:
        models = models.for_other_processes(max(1, int(request.cluster.cpus)))
    engine.check()
    splits = make_splits([path.name for path in images], request.val)
    return Plan(request, images, nameless, root, splits, names, models, engine)


def _models(request: Request) -> Models:
    settings = {**request.detector_settings, "classes": request.classes}
    if request.imgsz == Request.imgsz:  # what nobody asked for is of no detector of a fixed size
        settings |= {"imgsz": None, "usual_imgsz": request.imgsz}
    return Models(
        request.sam_model,
        request.det_model if request.mode == "detector" else None,
        settings,
        request.runtime,
        request.device,
        request.threads,
    )


def _default_output(data: Path) -> Path:
    """``labels`` beside the folder as it is called, which may be a symbolic link."""
    path = Path(os.path.abspath(data))  # noqa: PTH100, without following links
    return (path if data.is_dir() else path.parent).parent / "labels"


def _check_free(root: Path) -> None:
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
