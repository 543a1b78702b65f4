"""Ultralytics' architectures with generated weights, and its own post-processing of their answers.

Only for tests and for ``tools/make_yolo_golden.py``. What Ultralytics needs of torchvision here is
its suppression of boxes, so a module that holds Ultralytics' own one stands in.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import types
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from samdeploy.scenes import generate_scene

# No packages installed on the side, no look at the network.
os.environ.setdefault("YOLO_AUTOINSTALL", "false")
os.environ.setdefault("YOLO_OFFLINE", "true")


def _stable_nms(boxes: torch.Tensor, scores: torch.Tensor, iou: float) -> torch.Tensor:
    """Ultralytics' suppression, with boxes of equal scores in their order as torchvision has them:
    torch's sort leaves that open."""
    from ultralytics.utils.nms import TorchNMS

    order = scores.argsort(descending=True, stable=True)
    falling = torch.arange(len(order), 0, -1, dtype=torch.float32)
    return order[TorchNMS.nms(boxes[order], falling, iou)]


def import_ultralytics() -> Any:
    """The package; raises ``ImportError`` where it is not installed."""
    if importlib.util.find_spec("ultralytics") is None:
        raise ImportError("ultralytics is not installed")
    if "torchvision" not in sys.modules:
        stub, ops = types.ModuleType("torchvision"), types.ModuleType("torchvision.ops")
        stub.__version__, stub.ops = "0.0", ops  # type: ignore[attr-defined]
        sys.modules |= {"torchvision": stub, "torchvision.ops": ops}
        ops.nms = _stable_nms  # type: ignore[attr-defined]
    import ultralytics

    return ultralytics


def generated_model(architecture: str, names: dict[int, str] | None = None, seed: int = 0) -> Any:
    """An ``ultralytics.YOLO`` of an architecture (``yolov8n-seg.yaml``...).

    Random weights let all places answer alike. So the normalisations are set from scenes, and the
    head's last layers drawn such that scores and box sides spread.
    """
    torch.manual_seed(seed)
    model = import_ultralytics().YOLO(architecture, verbose=False)
    network = model.model
    if names is not None:
        _set_classes(network, names)
    scenes = [cv2.resize(generate_scene(i, (120, 160)).image, (160, 160)) for i in range(4)]
    images = torch.from_numpy(np.stack(scenes)).permute(0, 3, 1, 2) / 255.0
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # the mean of what is seen
            layer.reset_running_stats()
    head = network.model[-1]
    # Classes are many, and the best of them counts: their mean is lower then.
    scores = [(branch[-1], -5.0 if head.nc > 1 else -1.5, 1.5) for branch in head.cv3]
    sides = [(branch[-1], 0.0, 3.0) for branch in head.cv2]
    with torch.no_grad():
        network.train()(images)
        network.eval()
        hooks = [
            layer.register_forward_hook(_spreading(mean, deviation))
            for layer, mean, deviation in (*scores, *sides)
        ]
        network(images)
    for hook in hooks:
        hook.remove()
    return model


def _spreading(mean: float, deviation: float) -> Any:
    """A hook that sets a convolution's weights such that its answers have these moments."""

    def hook(layer: nn.Conv2d, inputs: Any, answer: torch.Tensor) -> torch.Tensor:
        assert layer.bias is not None
        scale = deviation / answer.std()
        layer.weight.data *= scale
        layer.bias.data = mean + (layer.bias.data - answer.mean()) * scale
        return layer.forward(inputs[0])

    return hook


def _set_classes(network: Any, names: dict[int, str]) -> None:
    head = network.model[-1]
    for branch in head.cv3:
        last = branch[-1]
        branch[-1] = nn.Conv2d(last.in_channels, len(names), 1)
    head.nc, head.no = len(names), len(names) + 4 * head.reg_max
    network.names, network.nc = names, len(names)


@dataclass
class Expected:
    """Image pixels: boxes [N, 4], scores [N], classes [N], masks [N, H, W] (empty for boxes)."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]
    masks: NDArray[np.bool_]


def post_process(
    outputs: list[NDArray[np.float32]],
    image: NDArray[np.uint8],
    input_size: tuple[int, int],
    names: dict[int, str],
    task: str,
    kind: str | None = None,
    prompts: dict[str, Any] | None = None,
    **settings: Any,
) -> Expected:
    """What Ultralytics' own predictor makes of a graph's outputs for one RGB image."""
    import_ultralytics()
    from ultralytics.models.fastsam import FastSAMPredictor
    from ultralytics.models.yolo.detect import DetectionPredictor
    from ultralytics.models.yolo.segment import SegmentationPredictor

    chosen = {
        "detect": DetectionPredictor, "segment": SegmentationPredictor, "fastsam": FastSAMPredictor,
    }[kind or task]  # fmt: skip
    predictor = chosen(overrides={"retina_masks": True, "save": False, "verbose": False})
    for name, value in settings.items():
        setattr(predictor.args, name, value)
    predictor.args.task = task
    predictor.model = types.SimpleNamespace(names=names, end2end=False)
    predictor.device = torch.device("cpu")
    predictor.batch = [["scene.png"]]
    if prompts is not None:
        predictor.set_prompts(prompts)
    tensors: Any = [torch.from_numpy(value.copy()) for value in outputs]
    bgr = np.ascontiguousarray(image[..., ::-1])
    [result] = predictor.postprocess(
        tensors if task == "segment" else tensors[0], torch.zeros(1, 3, *input_size), [bgr]
    )
    masks = np.zeros((0, *image.shape[:2]), bool)
    if result.masks is not None:
        masks = result.masks.data.numpy().astype(bool)
    boxes = result.boxes
    return Expected(
        boxes.xyxy.numpy(), boxes.conf.numpy(), boxes.cls.numpy().astype(np.int64), masks
    )
