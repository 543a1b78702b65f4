"""SAM 2's graphs as torch modules."""

from __future__ import annotations

from samdeploy.graphs import DECODER, ENCODER, MASK_HEAD, PREPARE, SCORER
from samdeploy.graphs_sam2 import sam2_specs
from samdeploy.models.graph_modules import graphs_of
from samdeploy.models.loaded import GraphModule
from samdeploy.models.sam2.restructured import Sam2MaskHead, Sam2Prepare, Sam2Scorer
from samdeploy.models.sam2.sam2 import Sam2, Sam2Decoder, Sam2Encoder

_MODULES = {ENCODER: Sam2Encoder, DECODER: Sam2Decoder}
_SPLIT = {PREPARE: Sam2Prepare, SCORER: Sam2Scorer, MASK_HEAD: Sam2MaskHead}
#: Object score and predicted IoU.
_TOKENS = 2


def graph_modules(sam: Sam2) -> dict[str, GraphModule]:
    """The graph of every role, in evaluation mode."""
    return graphs_of(sam.eval(), sam2_specs, _MODULES, _SPLIT, _TOKENS)
