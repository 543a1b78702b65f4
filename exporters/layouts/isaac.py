"""Isaac ROS Segment Anything (NVIDIA-ISAAC-ROS/isaac_ros_image_segmentation, d65a7c3; 4.4).

A folder of models for Triton, with encoder and decoder in one graph. Isaac pads images with black
before it normalises them; SAM was trained with zeros behind that, so the graph puts these in their
place.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samdeploy.bundle import Bundle
from samdeploy.exporters.layouts import pieces
from samdeploy.exporters.layouts.adapters import (
    MEAN,
    STD,
    OnnxAdapter,
    chosen_by_tokens,
    inside,
    marks,
    padded,
    prompt_feeds,
    with_padding,
)
from samdeploy.exporters.layouts.writing import save, sides_of
from samdeploy.geometry import Size
from samdeploy.layouts import Candidates, Flavour, Layout, Tokens
from samdeploy.prompts import Prompt
from samdeploy.session import Array

#: The tool's own default for ``model_name``.
_NAME = "segment_anything"
_MODEL = f"{_NAME}/1/model.onnx"


def _write(bundle: Bundle, folder: Path) -> None:
    side, _, _, low = sides_of(bundle)
    inputs = {
        "images": (1, 3, side, side),
        "point_coords": ("prompts", "points", 2),
        "point_labels": ("prompts", "points"),
        "mask_input": (1, 1, low, low),
        "has_mask_input": (1,),
        "orig_im_size": (2,),
    }
    outputs = {
        "masks": ("prompts", 1, "height", "width"),
        "iou_predictions": ("prompts", 1),
        "low_res_masks": ("prompts", 1, low, low),
    }
    text = f"""
{_NAME} ({_declared(inputs)}) => ({_declared(outputs)})
{{{pieces.unnormalised("images", "whole")}{pieces.valid_size(side)}
{pieces.mean_outside("whole", "image", side)}
    embeddings = encoder (image)
{pieces.one_mask_for_all(low)}
    four_masks, four_ious = decoder (embeddings, point_coords, point_labels, mask, has_mask)
{pieces.chosen()}{pieces.full_size(side)}
}}"""
    save(bundle, text, folder / _MODEL)
    config = [f'name: "{_NAME}"', 'platform: "onnxruntime_onnx"', "max_batch_size: 0"]
    config += [_for_triton("input", *each) for each in inputs.items()]
    config += [_for_triton("output", *each) for each in outputs.items()]
    (folder / _NAME / "config.pbtxt").write_text("\n".join(config) + "\n", "utf-8")


_Shapes = dict[str, tuple[int | str, ...]]


def _declared(tensors: _Shapes) -> str:
    return ", ".join(f"float[{','.join(map(str, shape))}] {name}"
                     for name, shape in tensors.items())  # fmt: skip


def _for_triton(kind: str, name: str, shape: tuple[int | str, ...]) -> str:
    sides = ", ".join(str(side) if isinstance(side, int) else "-1" for side in shape)
    return f'{kind} {{ name: "{name}" data_type: TYPE_FP32 dims: [ {sides} ] }}'


class IsaacAdapter(OnnxAdapter):
    """The nodes of ``isaac_ros_segment_anything_triton.launch.py``. A resized side is rounded down
    there; this image needs no rounding. One is enough: every prompt encodes it again."""

    files = (_MODEL,)
    sizes: tuple[Size, ...] = ((512, 256),)

    def _resized_size(self) -> Size:
        height, width = self.size
        if width > height:
            return int(self.side / width * height), self.side
        return self.side, int(self.side / height * width)

    def resized(self, image: NDArray[Any]) -> NDArray[Any]:
        self.size = (image.shape[0], image.shape[1])
        size = self._resized_size()[::-1]
        return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))

    def tensor(self, image: NDArray[Any]) -> Array:
        resized = self.resized(image)
        black = np.zeros((self.side, self.side, 3), np.float32)
        black[: resized.shape[0], : resized.shape[1]] = resized
        return padded((black / 255 - MEAN / 255) / (STD / 255), self.side)

    def encode(self, image: NDArray[Any]) -> None:
        self.features = [self.tensor(image)]

    def tokens(self, prompt: Prompt) -> Tokens:
        """Isaac takes points or a box, and adds the padding point to points."""
        return marks(prompt) if prompt.box is not None else with_padding(marks(prompt))

    def masks(self, prompt: Prompt) -> NDArray[Any]:
        points, labels = self.tokens(prompt)
        height, width = self._resized_size()
        coords = points * (width / self.size[1], height / self.size[0])
        feeds = {"images": self.features[0], **prompt_feeds(coords, labels, self.size)}
        (masks,) = self.decoder.run(["masks"], feeds)
        return inside(masks[0])

    def answers(self, tokens: int) -> tuple[Candidates, ...]:
        return chosen_by_tokens(tokens)


LAYOUT = Layout("isaac", "Isaac ROS 4.4", {"sam": Flavour(_write, IsaacAdapter, side=1024)})
