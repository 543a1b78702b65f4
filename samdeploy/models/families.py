"""A checkpoint of any family to its graphs in torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samdeploy.errors import InputError
from samdeploy.families import family_of_checkpoint, resolve
from samdeploy.limits import whole
from samdeploy.models.loaded import LoadedModel
from samdeploy.session import MOST_IMGSZ


def load_model(
    path: Path,
    *,
    config: Mapping[str, Any] | str | Path | None = None,
    imgsz: int | None = None,
    trust: bool = False,
) -> LoadedModel:
    """Load a checkpoint with the loader of its family; the arguments are those of every loader.

    Raises:
        CheckpointError: it cannot be read, or not without ``trust``.
        InputError: ``imgsz`` is none that the model can have, or it takes no ``config``.
    """
    if imgsz is not None:
        imgsz = whole("imgsz", imgsz, 1, MOST_IMGSZ)
    family = family_of_checkpoint(path)
    if config is not None and not family.configurable:
        raise InputError(
            f"config={config}; a checkpoint of a {family.name} model holds its own architecture, "
            "leave it out."
        )
    load = resolve(family.loader)
    loaded: LoadedModel = load(path, config=config, imgsz=imgsz, trust=trust)
    return loaded
