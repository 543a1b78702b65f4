"""A bundle's graphs as torch modules: what every exporter writes and the torch runtime runs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from samdeploy.graphs import DECODER, ENCODER, MASK_HEAD, PREPARE, SCORER, graph_specs, numbers
from samdeploy.models.config import TinyVitConfig
from samdeploy.models.restructured import DEPTH, MaskHead, Prepare, Scorer
from samdeploy.models.sam import Sam, SamDecoder, SamEncoder
from samdeploy.models.tiny_vit import fold_norms
from samdeploy.models.yolo import Yolo
from samdeploy.session import TensorSpec

_MODULES = {ENCODER: SamEncoder, DECODER: SamDecoder}
_SPLIT = {PREPARE: Prepare, SCORER: Scorer, MASK_HEAD: MaskHead}


@dataclass(frozen=True)
class GraphModule:
    """One graph: ``module`` takes ``inputs`` in order and returns ``outputs``. ``numbers(prompts,
    points)`` is what their dynamic dimensions are."""

    role: str
    module: nn.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    numbers: Callable[[int, int], dict[str, int]] = lambda prompts, points: {}

    @property
    def image_size(self) -> int:
        """Side ``S`` of the image that an encoder takes."""
        return int(self.inputs[0].shape[-1])

    def example(self, prompts: int = 2, points: int = 3) -> tuple[Tensor, ...]:
        """Inputs of zeros to trace with."""
        sides = self.numbers(prompts, points)
        return tuple(
            torch.zeros([sides[side] if isinstance(side, str) else side for side in spec.shape])
            for spec in self.inputs
        )


def graph_modules(model: Sam | Yolo) -> dict[str, GraphModule]:
    """The graph of every role, in evaluation mode."""
    if isinstance(model, Yolo):
        role = model.facts.role
        return {role: GraphModule(role, model.eval(), model.inputs, model.outputs)}
    return _sam_modules(model)


def _sam_modules(sam: Sam) -> dict[str, GraphModule]:
    config = sam.config
    transformer, channels = config.mask_decoder.transformer, config.image_encoder.out_chans
    outputs, heads = config.mask_decoder.num_multimask_outputs + 1, transformer.num_heads
    specs = graph_specs(
        config.image_size,
        channels,
        outputs=outputs,
        heads=heads,
        inner=channels // transformer.attention_downsample_rate,
    )
    in_a_call = partial(numbers, grid=config.grid, outputs=outputs, heads=heads)
    sam.eval()
    if isinstance(config.image_encoder, TinyVitConfig):
        sam = copy.deepcopy(sam)  # the caller's keeps its parameters
        fold_norms(sam)
    modules = _MODULES | (_SPLIT if transformer.depth == DEPTH else {})
    return {
        role: GraphModule(role, build(sam).eval(), *specs[role], in_a_call)
        for role, build in modules.items()
    }
