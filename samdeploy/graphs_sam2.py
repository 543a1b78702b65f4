"""SAM 2's graphs: SAM's, with finer features of the image and a score for whether an object is
there at all."""

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

_MEANING = {
    "high_res_feats_0": "features of the image at a quarter of the input",
    "high_res_feats_1": "features of the image at an eighth of the input",
    "object_score_logits": "the object is there when it is above 0",
    "high_res_tokens_0": "high_res_feats_0, the 4 x 4 positions of an image token side by side",
    "high_res_tokens_1": "high_res_feats_1, the 2 x 2 positions of an image token side by side",
}


def sam2_specs(
    image_size: int, channels: int, *, outputs: int = 4, heads: int = 8, inner: int = 128
) -> dict[str, Specs]:
    """Inputs and outputs of the graph of every role, see :func:`samdeploy.graphs.graph_specs`."""
    sam = graph_specs(image_size, channels, outputs=outputs, heads=heads, inner=inner)
    low = image_size // 4
    features = (
        TensorSpec("high_res_feats_0", (1, channels // 8, low, low)),
        TensorSpec("high_res_feats_1", (1, channels // 4, low // 2, low // 2)),
    )
    tokens = (
        TensorSpec("high_res_tokens_0", ("rows", "columns", 2 * channels)),
        TensorSpec("high_res_tokens_1", ("rows", "columns", channels)),
    )
    score = TensorSpec("object_score_logits", ("prompts", 1))
    (embeddings, *prompts), answers = sam[DECODER]
    prepared = sam[PREPARE][1]
    iou, *wanted = sam[SCORER][1]
    image_features, *given = sam[MASK_HEAD][0]
    return {
        ENCODER: (sam[ENCODER][0], (embeddings, *features)),
        DECODER: ((embeddings, *features, *prompts), (*answers, score)),
        PREPARE: ((embeddings, *features), (*prepared, *tokens)),
        SCORER: (sam[SCORER][0], (iou, score, *wanted)),
        MASK_HEAD: ((image_features, *tokens, *given), sam[MASK_HEAD][1]),
    }


SAM2_CONTRACT = contract_like_sam(sam2_specs, _MEANING)
