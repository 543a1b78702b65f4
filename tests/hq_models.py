"""HQ-SAM models without stored weights; see golden/hq_sam/recipe.json."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

GOLDEN = Path(__file__).parent / "golden" / "hq_sam"
RECIPE: dict[str, Any] = json.loads((GOLDEN / "recipe.json").read_text())

_HALVED = ("point_embed", "no_mask_embed", "not_a_point_embed", "iou_token", "mask_tokens",
           "hf_token")  # fmt: skip
_TRANSPOSED = (".output_upscaling.", ".compress_vit_feat.", ".embedding_encoder.")


def seeded(key: str, shape: list[int], hf_mlp_gain: float) -> Tensor:
    random, last = np.random.RandomState(zlib.crc32(key.encode())), key.rpartition(".")[2]
    if last == "num_batches_tracked":
        return torch.zeros(shape, dtype=torch.int64)
    if last == "running_var":
        return torch.from_numpy((0.5 + random.random_sample(shape)).astype(np.float32))
    values = random.standard_normal(shape)
    if last in ("running_mean", "bias", "rel_pos_h", "rel_pos_w"):
        scaled = 0.1 * values
    elif last == "pos_embed":
        scaled = 0.2 * values
    elif last == "attention_biases":
        scaled = 0.5 * values
    elif last == "positional_encoding_gaussian_matrix":
        scaled = values
    elif len(shape) == 1:
        scaled = 1 + 0.1 * values
    elif any(part in key for part in _HALVED):
        scaled = 0.5 * values
    elif any(part in key for part in _TRANSPOSED):
        scaled = values / math.sqrt(shape[0])
    else:
        gain = 1.5 if key.endswith("qkv.weight") else hf_mlp_gain if ".hf_mlp." in key else 1
        scaled = values * gain / math.sqrt(math.prod(shape[1:]))
    return torch.from_numpy(scaled.astype(np.float32))


def listed_keys(name: str) -> dict[str, list[int]]:
    """Shapes of a published checkpoint by key."""
    listed = json.loads((GOLDEN / "checkpoints" / f"{name}.json").read_text())["keys"]
    return {key: shape for key, (shape, _) in listed.items()}


def state_of(name: str) -> dict[str, Tensor]:
    """The weights of ``small_vit``, ``small_light`` or ``sam_hq_vit_tiny``."""
    model = RECIPE["models"][name]
    given = load_file(GOLDEN / model["given"]) if model["given"] else {}
    drawn = listed_keys(name) if isinstance(model["drawn"], str) else model["drawn"]
    return {
        **{model["prefix"] + key: value for key, value in given.items()},
        **{key: seeded(key, shape, model["hf_mlp_gain"]) for key, shape in drawn.items()},
    }


def config_of(name: str) -> Any:
    """What shapes do not tell of it."""
    small = GOLDEN.parent / "sam_vit_small" / "config.json"
    return small if name == "small_vit" else RECIPE["models"][name].get("config")


def hq_token_only(config: Any) -> dict[str, Any]:
    """The same, but for masks that are the high-quality one alone."""
    mapping = config if isinstance(config, dict) else json.loads(config.read_text())
    return {**mapping, "mask_decoder": {**mapping["mask_decoder"], "hq_token_only": True}}


def write_checkpoint(name: str, folder: Path) -> Path:
    path = folder / f"{name}.pth"
    torch.save(state_of(name), path)
    return path
