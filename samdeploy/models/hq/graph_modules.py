"""HQ-SAM's graphs as torch modules."""

from __future__ import annotations

from samdeploy.graphs import DECODER, ENCODER, MASK_HEAD, PREPARE, SCORER
from samdeploy.graphs_hq import hq_specs
from samdeploy.models.graph_modules import folded, graphs_of
from samdeploy.models.hq.hq_sam import HqDecoder, HqEncoder, HqSam
from samdeploy.models.hq.restructured import HqMaskHead, HqPrepare
from samdeploy.models.loaded import GraphModule
from samdeploy.models.restructured import Scorer

_MODULES = {ENCODER: HqEncoder, DECODER: HqDecoder}
_SPLIT = {PREPARE: HqPrepare, SCORER: Scorer, MASK_HEAD: HqMaskHead}
#: Predicted IoU and the high-quality mask.
_TOKENS = 2


def graph_modules(sam: HqSam) -> dict[str, GraphModule]:
    """The graph of every role, in evaluation mode."""
    return graphs_of(folded(sam), hq_specs, _MODULES, _SPLIT, _TOKENS)
