"""SAM's graphs as torch modules.

The arguments of ``forward`` are the inputs of a graph, by name and in order. So those of two graphs
that take the same stand twice, and those of a method that does their work.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol, TypeVar

from torch import nn

from samdeploy.contracts import Specs
from samdeploy.graphs import DECODER, ENCODER, MASK_HEAD, PREPARE, SCORER, graph_specs, numbers
from samdeploy.models.config import VitConfig
from samdeploy.models.conv_norm import fold_norms
from samdeploy.models.loaded import GraphModule
from samdeploy.models.restructured import DEPTH, MaskHead, Prepare, Scorer
from samdeploy.models.sam import Sam, SamDecoder, SamEncoder
from samdeploy.preprocess import Preprocess

_SamT = TypeVar("_SamT", bound=Sam)


class Splittable(Protocol):
    """A model whose decoder is like SAM's."""

    config: Any
    preprocess: Preprocess


_ModelT = TypeVar("_ModelT", bound=Splittable)

_MODULES = {ENCODER: SamEncoder, DECODER: SamDecoder}
_SPLIT = {PREPARE: Prepare, SCORER: Scorer, MASK_HEAD: MaskHead}


def graph_modules(sam: Sam) -> dict[str, GraphModule]:
    """The graph of every role, in evaluation mode."""
    return graphs_of(folded(sam), graph_specs, _MODULES, _SPLIT)


def folded(sam: _SamT) -> _SamT:
    """In evaluation mode, with the batch norms of its encoder in the convolutions before them; the
    caller's keeps its parameters."""
    sam.eval()
    if isinstance(sam.config.image_encoder, VitConfig):
        return sam
    sam = copy.deepcopy(sam)
    fold_norms(sam)
    return sam


def graphs_of(
    sam: _ModelT,
    specs_of: Callable[..., dict[str, Specs]],
    modules: Mapping[str, Callable[[_ModelT], nn.Module]],
    split: Mapping[str, Callable[[_ModelT], nn.Module]],
    tokens: int = 1,
) -> dict[str, GraphModule]:
    """The graphs of a model whose decoder is like SAM's.

    Args:
        specs_of: their inputs and outputs, see :func:`samdeploy.graphs.graph_specs`.
        modules, split: what makes the graph of each role, and of those of the split decoder.
        tokens: of the decoder's own, beside one for each mask.
    """
    config = sam.config
    transformer, channels = config.mask_decoder.transformer, config.channels
    outputs, heads = config.mask_decoder.num_multimask_outputs + 1, transformer.num_heads
    inner = channels // transformer.attention_downsample_rate
    specs = specs_of(config.image_size, channels, outputs=outputs, heads=heads, inner=inner)
    in_a_call = partial(numbers, grid=config.grid, outputs=outputs, heads=heads, tokens=tokens)
    wanted = {**modules, **(split if transformer.depth == DEPTH else {})}
    return {
        role: GraphModule(role, build(sam).eval(), *specs[role], in_a_call, sam.preprocess)
        for role, build in wanted.items()
    }
