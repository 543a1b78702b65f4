"""YOLO networks in torch, through the optional package ``ultralytics`` (AGPL-3.0).

An Ultralytics checkpoint is a pickled object: loading it runs code that the file names. It is
loaded by Ultralytics' own loader alone, and only for callers who said that they trust the file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from samdeploy.contracts import names_of
from samdeploy.errors import CheckpointError, InputError, RuntimeUnavailableError
from samdeploy.libraries import optional_library
from samdeploy.models.loaded import GraphModule, LoadedModel, ModelFacts
from samdeploy.session import TensorSpec
from samdeploy.yolo.graphs import YOLO_CONTRACT
from samdeploy.yolo.metadata import TASKS, YoloFacts

_DEFAULT_SIZE = 640


class Yolo(nn.Module):
    """A network that answers with the tensors of its role.

    Attributes:
        facts: what decoding needs to know.
        architecture: such as ``yolov8n-seg``.
        licence: what the checkpoint says of itself.
        inputs, outputs: of the graph.
    """

    def __init__(self, network: nn.Module, facts: YoloFacts, name: str, licence: str) -> None:
        super().__init__()
        self.network, self.facts = network, facts
        self.architecture, self.licence = name, licence
        names, answers = names_of(YOLO_CONTRACT.tensors[facts.role])
        image = torch.zeros(1, 3, *facts.imgsz)
        with torch.no_grad():
            found = self(image)
        self.inputs = (TensorSpec(names[0], tuple(image.shape)),)
        self.outputs = tuple(
            TensorSpec(answer, tuple(tensor.shape))
            for answer, tensor in zip(answers, found, strict=True)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        found = self.network(images)
        return (found,) if isinstance(found, Tensor) else tuple(found)


def load(
    path: Path,
    *,
    config: Mapping[str, Any] | str | Path | None = None,
    imgsz: int | None = None,
    trust: bool = False,
) -> LoadedModel:
    """The graph of an Ultralytics checkpoint and what a manifest says of it; see
    :func:`load_yolo`. It holds its own ``config``."""
    yolo = load_yolo(path, imgsz=imgsz, trust=trust)
    facts, name = yolo.facts, yolo.architecture
    prompted = facts.class_agnostic or name.lower().startswith("fastsam")
    told = ModelFacts(
        family="fastsam" if prompted else "yolo",
        architecture=name,
        image_size=max(facts.imgsz),
        embedding_channels=0,
        config=facts.to_config(),
        metadata=facts.to_metadata(),
        licence=yolo.licence,
        tools=("ultralytics",),
    )
    graph = GraphModule(facts.role, yolo.eval(), yolo.inputs, yolo.outputs)
    return LoadedModel(told, {facts.role: graph})


def load_yolo(path: Path, *, imgsz: int | None = None, trust: bool = False) -> Yolo:
    """The network of an Ultralytics checkpoint, fused and in evaluation mode.

    Args:
        imgsz: side of the input in pixels; by default the one it was trained with.
        trust: the caller accepts that loading executes code of the file.

    Raises:
        CheckpointError: ``trust`` is not given, or it holds no detector or segmenter.
        InputError: ``imgsz`` is not a multiple of the network's stride.
        RuntimeUnavailableError: Ultralytics is not installed, or does not work here.
    """
    if not trust:
        raise CheckpointError(
            f"'{path}' is an Ultralytics checkpoint, and loading it executes code that the file "
            "holds; export it with trust=True if you trust where it came from."
        )
    try:
        loaded = _ultralytics().YOLO(str(path))
        network, task = loaded.model, loaded.task
        stored = getattr(loaded, "ckpt", None) or {}
    except RuntimeUnavailableError:
        raise
    except Exception as error:  # whatever the code in the file raises
        raise CheckpointError(f"Ultralytics cannot load '{path}': {error}") from error
    if task not in TASKS:
        raise CheckpointError(
            f"'{path}' is a YOLO model for '{task}'; expected one for {' or '.join(TASKS)}."
        )
    stride = int(max(network.stride))
    side = _side(imgsz, getattr(network, "args", None), stride)
    facts = YoloFacts(TASKS[task], dict(network.names), stride, (side, side))
    return Yolo(
        _for_export(network),
        facts,
        _architecture(network, path),
        str(stored.get("license", "AGPL-3.0")),
    ).requires_grad_(False)


def _ultralytics() -> Any:
    # Read when it is imported: a checkpoint must not make it install packages.
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    what = "an Ultralytics checkpoint needs the package ultralytics (AGPL-3.0), which"
    with optional_library(what, "pip install 'samdeploy[yolo]'"):
        import ultralytics
    return ultralytics


def _side(imgsz: int | None, arguments: Any, stride: int) -> int:
    trained = arguments.get("imgsz") if isinstance(arguments, dict) else None
    if isinstance(trained, (list, tuple)):
        trained = max(trained)
    side = int(imgsz or trained or _DEFAULT_SIZE)
    if side < stride or side % stride:
        raise InputError(f"imgsz={side}; expected a multiple of the network's stride {stride}.")
    return side


def _for_export(network: nn.Module) -> nn.Module:
    head: Any = network.model[-1]  # type: ignore[index]
    if hasattr(head, "end2end"):
        head.end2end = False  # all places answer; the suppression is ours
    fused: nn.Module = network.float().fuse(verbose=False).eval()  # type: ignore[operator]
    head.export, head.dynamic = True, False
    return fused


def _architecture(network: Any, path: Path) -> str:
    """The name of FastSAM's checkpoints, which are YOLOv8 by their architecture; else that."""
    if path.stem.lower().startswith("fastsam"):
        return path.stem
    yaml = getattr(network, "yaml", None) or {}
    return Path(yaml.get("yaml_file") or path).stem
