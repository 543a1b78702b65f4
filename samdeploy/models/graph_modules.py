"""SAM's graphs as torch modules.

The arguments of ``forward`` are the inputs of a graph, by name and in order. So those of two graphs
that take the same stand twice, and those of a method that does their work.
"""

from __future__ import annotations

import copy
from functools import partial

from samdeploy.graphs import DECODER, ENCODER, MASK_HEAD, PREPARE, SCORER, graph_specs, numbers
from samdeploy.models.config import VitConfig
from samdeploy.models.conv_norm import fold_norms
from samdeploy.models.loaded import GraphModule
from samdeploy.models.restructured import DEPTH, MaskHead, Prepare, Scorer
from samdeploy.models.sam import Sam, SamDecoder, SamEncoder

_MODULES = {ENCODER: SamEncoder, DECODER: SamDecoder}
_SPLIT = {PREPARE: Prepare, SCORER: Scorer, MASK_HEAD: MaskHead}


def graph_modules(sam: Sam) -> dict[str, GraphModule]:
    """The graph of every role, in evaluation mode."""
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
    if not isinstance(config.image_encoder, VitConfig):
        sam = copy.deepcopy(sam)  # the caller's keeps its parameters
        fold_norms(sam)
    modules = _MODULES | (_SPLIT if transformer.depth == DEPTH else {})
    return {
        role: GraphModule(role, build(sam).eval(), *specs[role], in_a_call, sam.preprocess)
        for role, build in modules.items()
    }
