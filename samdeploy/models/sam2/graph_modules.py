"""SAM 2's graphs as torch modules."""

from __future__ import annotations

from functools import partial

from samdeploy.graphs import DECODER, ENCODER, MASK_HEAD, PREPARE, SCORER, numbers
from samdeploy.graphs_sam2 import sam2_specs
from samdeploy.models.loaded import GraphModule
from samdeploy.models.restructured import DEPTH
from samdeploy.models.sam2.restructured import Sam2MaskHead, Sam2Prepare, Sam2Scorer
from samdeploy.models.sam2.sam2 import Sam2, Sam2Decoder, Sam2Encoder

_MODULES = {ENCODER: Sam2Encoder, DECODER: Sam2Decoder}
_SPLIT = {PREPARE: Sam2Prepare, SCORER: Sam2Scorer, MASK_HEAD: Sam2MaskHead}


def graph_modules(sam: Sam2) -> dict[str, GraphModule]:
    """The graph of every role, in evaluation mode."""
    config = sam.config
    transformer = config.mask_decoder.transformer
    outputs, heads = config.mask_decoder.num_multimask_outputs + 1, transformer.num_heads
    specs = sam2_specs(
        config.image_size,
        config.channels,
        outputs=outputs,
        heads=heads,
        inner=config.channels // transformer.attention_downsample_rate,
    )
    # Tokens of its own: object score and predicted IoU.
    in_a_call = partial(numbers, grid=config.grid, outputs=outputs, heads=heads, tokens=2)
    modules = _MODULES | (_SPLIT if transformer.depth == DEPTH else {})
    return {
        role: GraphModule(role, build(sam.eval()).eval(), *specs[role], in_a_call, sam.preprocess)
        for role, build in modules.items()
    }
