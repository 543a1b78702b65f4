"""Weights that are a function of key and shape, so that files need not hold them.

The rules are told in the ``recipe.json`` of golden folders. Those of other models are in the tests
that use them.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_HALVED = ("point_embed", "no_mask_embed", "not_a_point_embed", "obj_score_token", "iou_token",
           "mask_tokens")  # fmt: skip
#: At the top of EdgeTAM, and in its part for video.
_OTHERS = ("no_mem_embed", "no_mem_pos_enc", "maskmem_tpos_enc", "no_obj_ptr", "latents",
           "latents_2d")  # fmt: skip
#: Of one-dimensional weights, by what their keys end with.
_GAINS = {
    "channel_mixer.m.2.bn.weight": 0.3,
    "channel_mixer.conv2.bn.weight": 0.3,
    "ffn.conv2.bn.weight": 0.3,
    "token_mixer.conv.bn.weight": 0.5,
    "token_mixer.conv1.bn.weight": 0.5,
}


def seeded_state(listed: Path) -> dict[str, Tensor]:
    """The state dict of a RepViT-SAM or an EdgeTAM whose keys and shapes a golden file lists."""
    keys = json.loads(listed.read_text())["keys"]
    return {key: seeded_weight(key, shape) for key, (shape, _) in keys.items()}


def seeded_weight(key: str, shape: list[int]) -> Tensor:
    """See golden/repvit_sam/recipe.json and golden/edgetam/recipe.json."""
    random = np.random.RandomState(zlib.crc32(key.encode()))
    last = key.rpartition(".")[2]
    if last == "num_batches_tracked":
        return torch.zeros(shape, dtype=torch.int64)
    if last == "running_var":
        gain = 2.2 if key.endswith("token_mixer.0.bn.running_var") else 1.0
        values: NDArray[np.float64] = gain * (0.5 + random.random_sample(shape))
        return torch.from_numpy(values.astype(np.float32))
    values = random.standard_normal(shape)
    if last in _OTHERS:
        scaled = 0.5 * values
    elif key.endswith("fc2.bias"):
        scaled = 1 + 0.1 * values
    elif last in ("running_mean", "bias", "gamma"):
        scaled = 0.1 * values
    elif last == "positional_encoding_gaussian_matrix":
        scaled = values
    elif len(shape) == 1:
        scaled = next(_gains(key)) * (1 + 0.1 * values)
    elif any(part in key for part in _HALVED):
        scaled = 0.5 * values
    elif ".output_upscaling." in key:
        scaled = values / math.sqrt(shape[0])
    else:
        gain = 0.3 if ".neck.convs." in key else 1.0
        scaled = gain * values / math.sqrt(math.prod(shape[1:]))
    return torch.from_numpy(scaled.astype(np.float32))


def _gains(key: str) -> Iterator[float]:
    yield from (gain for end, gain in _GAINS.items() if key.endswith(end))
    yield 1.0
