"""HQ-SAM's graphs as torch modules."""

from __future__ import annotations

import copy
from functools import partial

from samdeploy.graphs import DECODER, ENCODER, MASK_HEAD, PREPARE, SCORER, numbers
from samdeploy.graphs_hq import hq_specs
from samdeploy.models.config import VitConfig
from samdeploy.models.conv_norm import fold_norms
from samdeploy.models.hq.hq_sam import HqDecoder, HqEncoder, HqSam
from samdeploy.models.hq.restructured import HqMaskHead, HqPrepare
from samdeploy.models.loaded import GraphModule
from samdeploy.models.restructured import DEPTH, Scorer

_MODULES = {ENCODER: HqEncoder, DECODER: HqDecoder}
_SPLIT = {PREPARE: HqPrepare, SCORER: Scorer, MASK_HEAD: HqMaskHead}


def graph_modules(sam: HqSam) -> dict[str, GraphModule]:
    """The graph of every role, in evaluation mode."""
    config = sam.config
    transformer, channels = config.mask_decoder.transformer, config.image_encoder.out_chans
    outputs, heads = config.mask_decoder.num_multimask_outputs + 1, transformer.num_heads
    specs = hq_specs(
        config.image_size,
        channels,
        outputs=outputs,
        heads=heads,
        inner=channels // transformer.attention_downsample_rate,
    )
    # Tokens of its own: predicted IoU and the high-quality mask.
    in_a_call = partial(numbers, grid=config.grid, outputs=outputs, heads=heads, tokens=2)
    sam.eval()
    if not isinstance(config.image_encoder, VitConfig):
        sam = copy.deepcopy(sam)  # the caller's keeps its parameters
        fold_norms(sam)
    modules = _MODULES | (_SPLIT if transformer.depth == DEPTH else {})
    return {
        role: GraphModule(role, build(sam).eval(), *specs[role], in_a_call, sam.preprocess)
        for role, build in modules.items()
    }
