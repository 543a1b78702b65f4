"""A SAM with random weights, small enough to be exported in a second."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from samdeploy.session import Array, TensorSpec

if TYPE_CHECKING:
    from samdeploy.models import GraphModule


#: Upper ends of pixel values and coordinates; labels and flags are 0 or 1.
_RANGES = {"image": 255, "point_coords": 64}
_FLAGS = {"point_labels", "has_mask_input"}


@cache
def small_graphs() -> dict[str, GraphModule]:
    """The graph of every role of a SAM of 64 pixels; needs torch. The same in every process."""
    import torch

    from samdeploy.models import graph_modules
    from samdeploy.models.config import (
        MaskDecoderConfig,
        PromptEncoderConfig,
        SamConfig,
        TransformerConfig,
        VitConfig,
    )
    from samdeploy.models.sam import Sam

    config = SamConfig(
        VitConfig(
            img_size=64, embed_dim=24, depth=2, num_heads=2, out_chans=32, window_size=3,
            global_attn_indexes=(1,),
        ),
        PromptEncoderConfig(mask_in_chans=4),
        MaskDecoderConfig(
            iou_head_hidden_dim=32, transformer=TransformerConfig(num_heads=4, mlp_dim=64)
        ),
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sam = Sam(config)
        for parameter in sam.parameters():  # zeros would hide what is never read
            parameter.data.add_(0.05 * torch.randn_like(parameter))
    return graph_modules(sam.eval().requires_grad_(False))


def answers(graph: GraphModule, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Answers of the module itself."""
    import torch

    with torch.inference_mode():
        results = graph.module(*(torch.from_numpy(feeds[spec.name]) for spec in graph.inputs))
    results = (results,) if isinstance(results, torch.Tensor) else results
    return {spec.name: one.numpy() for spec, one in zip(graph.outputs, results, strict=True)}


def feeds_of(role: str, prompts: int, points: int) -> dict[str, Array]:
    """Inputs of a graph as prompts of users make them, ``points`` tokens each, and where it takes
    them, outputs of the graphs before it."""
    rng = np.random.default_rng(prompts * 100 + points)
    known: dict[str, Array] = {}
    for name, graph in small_graphs().items():
        sides = graph.numbers(prompts, points)
        feeds = {
            spec.name: known[spec.name] if spec.name in known else _random(rng, spec, sides)
            for spec in graph.inputs
        }
        if name == role:
            return feeds
        known |= feeds | answers(graph, feeds)
    raise KeyError(role)


def _random(rng: np.random.Generator, spec: TensorSpec, sides: Mapping[str, int]) -> Array:
    shape = [sides[side] if isinstance(side, str) else side for side in spec.shape]
    if spec.name in _RANGES:
        return rng.uniform(0, _RANGES[spec.name], shape).astype(np.float32)
    if spec.name in _FLAGS:
        return rng.integers(0, 2, shape).astype(np.float32)
    return rng.normal(0, 1, shape).astype(np.float32)
