"""Checkpoints of every family to torch modules, and what a manifest says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samdeploy.errors import InputError
from samdeploy.limits import whole
from samdeploy.models.load import load_sam, read_whole_image
from samdeploy.models.sam import Sam
from samdeploy.models.yolo import Yolo, is_ultralytics, load_yolo
from samdeploy.session import MOST_IMGSZ


@dataclass(frozen=True)
class ModelFacts:
    """The part of a :class:`~samdeploy.bundle.Manifest` that depends on the model alone.

    ``metadata`` are further texts for the artifacts, ``licence`` is empty where the checkpoint
    does not tell it, ``tools`` are distributions that took part in reading it.
    """

    family: str
    architecture: str
    image_size: int
    embedding_channels: int
    config: dict[str, Any]
    whole_image: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    licence: str = ""
    tools: tuple[str, ...] = ()


def load_model(
    path: Path,
    *,
    config: Mapping[str, Any] | str | Path | None = None,
    imgsz: int | None = None,
    trust: bool = False,
) -> Sam | Yolo:
    """A checkpoint of any family in evaluation mode; see :func:`load_sam` and :func:`load_yolo`."""
    if imgsz is not None:
        imgsz = whole("imgsz", imgsz, 1, MOST_IMGSZ)
    if not is_ultralytics(path):
        return load_sam(path, config=config, imgsz=imgsz)
    if config is not None:
        raise InputError("config= is for SAM checkpoints; an Ultralytics checkpoint holds its own.")
    return load_yolo(path, imgsz=imgsz, trust=trust)


def model_facts(model: Sam | Yolo, path: Path) -> ModelFacts:
    """Of a model that :func:`load_model` read from ``path``."""
    if isinstance(model, Yolo):
        prompted = model.facts.class_agnostic or model.architecture.lower().startswith("fastsam")
        return ModelFacts(
            family="fastsam" if prompted else "yolo",
            architecture=model.architecture,
            image_size=max(model.facts.imgsz),
            embedding_channels=0,
            config=model.facts.to_config(),
            metadata=model.facts.to_metadata(),
            licence=model.licence,
            tools=("ultralytics",),
        )
    return ModelFacts(
        family="sam",
        architecture=model.config.architecture,
        image_size=model.config.image_size,
        embedding_channels=model.config.image_encoder.out_chans,
        config=model.config.to_mapping(),
        whole_image=read_whole_image(path),
    )
