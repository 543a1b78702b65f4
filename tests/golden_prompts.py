"""The prompts of golden/sam_vit_small, and what the decoder takes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_LISTED = json.loads(
    (Path(__file__).parent / "golden" / "sam_vit_small" / "prompts.json").read_text()
)["prompts"]
# In one, labels 2 and 3 mean nothing to the official torch path. Ours gives them the meaning of the
# official ONNX wrapper.
PROMPTS: list[dict[str, Any]] = [prompt for prompt in _LISTED if prompt["name"] != "label_2_3"]


def decoder_inputs(prompt: dict[str, Any], outputs: dict[str, NDArray[Any]]) -> list[Tensor]:
    """Feeds of a fixture's prompt, built from its transformed coordinates."""
    batch = prompt["batch"]
    coords: list[NDArray[Any]] = []
    labels: list[NDArray[Any]] = []
    if prompt["point_coords_transformed"] is not None:
        points = np.array(prompt["point_coords_transformed"], np.float32).reshape(batch, -1, 2)
        coords.append(points)
        labels.append(np.array(prompt["point_labels"], np.float32).reshape(batch, -1))
    if prompt["boxes_transformed"] is not None:
        coords.append(np.array(prompt["boxes_transformed"], np.float32).reshape(batch, 2, 2))
        labels.append(np.tile(np.array([[2, 3]], np.float32), (batch, 1)))
    if prompt["has_padding_point"]:
        coords.append(np.zeros((batch, 1, 2), np.float32))
        labels.append(np.full((batch, 1), -1, np.float32))
    if not coords:  # a mask alone has no token
        coords.append(np.zeros((batch, 1, 2), np.float32))
        labels.append(np.full((batch, 1), -2, np.float32))
    mask = outputs.get(f"{prompt['name']}/mask_input")
    given = (
        np.zeros((batch, 1, 64, 64), np.float32) if mask is None else mask.reshape(batch, 1, 64, 64)
    )
    return [
        torch.from_numpy(np.concatenate(coords, axis=1)),
        torch.from_numpy(np.concatenate(labels, axis=1)),
        torch.from_numpy(given),
        torch.full((batch,), float(mask is not None)),
    ]
