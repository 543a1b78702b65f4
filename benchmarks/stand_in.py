"""Stand-ins for the few functions of torchvision and timm that peers use when they segment.

There is not a torchvision for every torch, importing one that does not fit fails, and timm imports
it. Peers need of the two: resizing a picture, removing duplicate boxes (ours does, with the same
result), and helpers for building TinyViT. Anything else fails when it is called.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import Enum
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from samdeploy.benchmarks.stand_in_steps import float_steps
from samdeploy.masks.postprocess import nms as our_nms

if TYPE_CHECKING:
    from torch import Tensor


class _StandIn(ModuleType):
    """A module in which every name exists; those without content fail when they are called."""

    def __init__(self, name: str, content: Mapping[str, Any]) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None, is_package=True)
        self.__path__: list[str] = []
        self.__dict__.update(content)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def refuse(*args: Any, **kwargs: Any) -> Any:
            raise NotImplementedError(f"{self.__name__}.{name} is not part of the stand-in")

        return refuse


def install_stand_ins() -> None:
    """Put the stand-ins where imports find them, in this process."""
    for name, content in _modules().items():
        module = _StandIn(name, content)
        sys.modules[name] = module
        parent, _, own = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], own, module)


def _modules() -> dict[str, dict[str, Any]]:
    """Contents by module; a parent comes before its children."""
    from torch import nn

    boxes = {"nms": nms, "batched_nms": batched_nms, "box_area": box_area}
    layers = {
        "DropPath": _DropNothing(nn),
        "to_2tuple": lambda value: (value, value),
        "trunc_normal_": nn.init.trunc_normal_,
    }
    return {
        "torchvision": {"__version__": "0"},
        "torchvision.ops": boxes,
        "torchvision.ops.boxes": boxes,
        "torchvision.io": {},
        "torchvision.transforms": {"InterpolationMode": InterpolationMode, **float_steps()},
        "torchvision.transforms.functional": {"resize": resize, "to_pil_image": Image.fromarray},
        "torchvision.transforms.v2": {},
        "torchvision.transforms.v2.functional": {},
        "timm": {},
        "timm.models": {},
        "timm.models.layers": layers,
        "timm.models.registry": {"register_model": lambda function: function},
    }


class InterpolationMode(Enum):
    """The names that transformers lists at import."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


def _DropNothing(nn: Any) -> Any:  # noqa: N802
    """The class of a layer that drops paths in training, and nothing otherwise."""
    return type(
        "DropPath", (nn.Identity,), {"__init__": lambda self, *args, **kw: nn.Module.__init__(self)}
    )


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Indices of the boxes to keep, best first."""
    import torch

    keep = our_nms(
        boxes.detach().cpu().numpy().astype(np.float32),
        scores.detach().cpu().numpy().astype(np.float32),
        float(iou_threshold),
    )
    return torch.from_numpy(keep.astype(np.int64)).to(boxes.device)


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """:func:`nms` of boxes that are all of one class, as with SAM."""
    if idxs.numel() and bool((idxs != idxs[0]).any()):
        raise NotImplementedError("the stand-in of batched_nms knows one class only")
    return nms(boxes, scores, iou_threshold)


def box_area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A picture to (height, width), bilinear."""
    return image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
