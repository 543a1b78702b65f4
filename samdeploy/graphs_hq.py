"""HQ-SAM's graphs: SAM's, with finer features of the image and a token for one more mask."""

from __future__ import annotations

from samdeploy.contracts import Specs
from samdeploy.graphs import (
    DECODER,
    ENCODER,
    MASK_HEAD,
    PREPARE,
    SCORER,
    contract_like_sam,
    graph_specs,
)
from samdeploy.session import TensorSpec

#: Input of a mask head that looks around: a cell of its logits depends on so many behind it.
HQ_TOKENS, HALO = "hq_tokens", 2

_MEANING = {
    "hq_features": "the image's part of the finer features, at a quarter of the input",
    HQ_TOKENS: "hq_features, the 4 x 4 positions of an image token side by side",
}


def hq_specs(
    image_size: int, channels: int, *, outputs: int = 4, heads: int = 8, inner: int = 128
) -> dict[str, Specs]:
    """Inputs and outputs of the graph of every role, see :func:`samdeploy.graphs.graph_specs`."""
    sam = graph_specs(image_size, channels, outputs=outputs, heads=heads, inner=inner)
    low = image_size // 4
    features = TensorSpec("hq_features", (1, channels // 8, low, low))
    tokens = TensorSpec(HQ_TOKENS, ("rows", "columns", 2 * channels))
    mask_tokens = TensorSpec("mask_tokens", ("prompts", outputs + 1, channels))
    (embeddings, *prompts), answers = sam[DECODER]
    iou, _, *changed = sam[SCORER][1]
    image_features = sam[MASK_HEAD][0][0]
    return {
        ENCODER: (sam[ENCODER][0], (embeddings, features)),
        DECODER: ((embeddings, features, *prompts), answers),
        PREPARE: ((embeddings, features), (*sam[PREPARE][1], tokens)),
        SCORER: (sam[SCORER][0], (iou, mask_tokens, *changed)),
        MASK_HEAD: ((image_features, tokens, mask_tokens, *changed), sam[MASK_HEAD][1]),
    }


HQ_CONTRACT = contract_like_sam(hq_specs, _MEANING)
