"""A checkpoint of a published architecture with random weights.

Speed and memory hardly depend on the values of the weights, and the published ones are not always
at hand. What such a model segments means nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from samdeploy.errors import InputError, RuntimeUnavailableError

from .stand_in import install_stand_ins

if TYPE_CHECKING:
    from samdeploy.models.sam import Sam

SEED = 0
DESCRIPTION = f"random (normal, deviation 0.02, seed {SEED})"


def random_model(name: str) -> Sam:
    """An untrained model of a published architecture, by the name of its checkpoint.

    Raises:
        InputError: no published architecture has that name.
    """
    import torch

    from samdeploy.models.config import PUBLISHED
    from samdeploy.models.sam import Sam

    config = PUBLISHED.get(name.removesuffix(".pt"))
    if config is None:
        raise InputError(
            f"model '{name}' with weights=random; expected one of "
            f"{', '.join(f'{known}.pt' for known in PUBLISHED)}."
        )
    torch.manual_seed(SEED)
    model = Sam(config).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.02)
    return model


def random_checkpoint(name: str, folder: Path) -> Path:
    """Write :func:`random_model` under the name of its checkpoint, which peers go by."""
    import torch

    path = folder / f"{name.removesuffix('.pt')}.pt"
    torch.save(random_model(name).state_dict(), path)
    return path


def random_yolo(name: str, folder: Path) -> Path:
    """Write an untrained model of the YOLO family under the name of its checkpoint, by the package
    ultralytics (AGPL-3.0).

    Raises:
        RuntimeUnavailableError: the package is not installed, or knows no such model.
    """
    path = folder / Path(name).name
    fast = path.stem.lower().startswith("fastsam")
    # FastSAM is YOLOv8-seg of the same size with one class.
    architecture = f"yolov8{path.stem[-1].lower()}-seg" if fast else path.stem
    install_stand_ins()
    os.environ |= {"YOLO_OFFLINE": "true", "YOLO_VERBOSE": "false", "YOLO_AUTOINSTALL": "false"}
    os.environ.setdefault("YOLO_CONFIG_DIR", str(folder))
    try:
        import torch
        import ultralytics
        from ultralytics.nn.tasks import DetectionModel, SegmentationModel

        torch.manual_seed(SEED)
        kind = SegmentationModel if architecture.endswith("-seg") else DetectionModel
        model = ultralytics.YOLO(f"{architecture}.yaml", verbose=False)
        if fast:
            model.model = kind(f"{architecture}.yaml", nc=1, verbose=False)
            model.model.names = {0: "object"}
        model.save(path)
    except (ImportError, FileNotFoundError) as error:
        raise RuntimeUnavailableError(
            f"random weights of '{name}' need the package ultralytics (AGPL-3.0), which is not "
            f"usable here ({error}); run: pip install 'samdeploy[yolo]'."
        ) from error
    return path
