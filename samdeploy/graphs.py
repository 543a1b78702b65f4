"""SAM's graphs: their roles, their tensors, and what these hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from samdeploy.contracts import Contract, Specs
from samdeploy.errors import BundleError
from samdeploy.session import TensorSpec

ENCODER, DECODER = "encoder", "decoder"
#: The same decoder for many prompts on one image: once per image, per prompt, per mask wanted.
PREPARE, SCORER, MASK_HEAD = "prepare", "scorer", "mask_head"
#: Every model has these graphs; the others make it faster.
ROLES = (ENCODER, DECODER)
ALL_ROLES = (*ROLES, PREPARE, SCORER, MASK_HEAD)
#: The weights of the decoder, a side file of the scorer, and the graphs that the kernels of
#: :mod:`samdeploy.runtimes.native` make of them.
KERNELS_FILE, KERNEL_ROLES = "kernels.safetensors", (SCORER, MASK_HEAD)
#: What takes the place of points and labels in graphs whose prompts the host turns into tokens
#: (:mod:`samdeploy.host_prompts`), and the weights that it needs.
HOSTED = {"point_coords": "prompt_tokens", "point_labels": "prompt_bias"}
PROMPTS_FILE = "prompts.safetensors"
HOSTED_MEANING = {
    "prompt_tokens": "points and box corners as the prompt encoder turns them into tokens",
    "prompt_bias": "0 for a token, -30000 where there is none",
}

#: What each tensor holds.
MEANING = {
    "image": "RGB in 0-255, brought to S x S as 'preprocess' in bundle.json says",
    "image_embeddings": "features of the image at a sixteenth of the input",
    "point_coords": "(x, y) in encoder-input pixels",
    "point_labels": "1 foreground, 0 background, 2 and 3 box corners, -1 SAM's padding point "
    "(with points without a box), -2 no token",
    "mask_input": "logits of an earlier answer",
    "has_mask_input": "1 where mask_input is to be used, else 0",
    "low_res_masks": "logits in the padded frame at a quarter of the input; index 0 is the "
    "single-mask output; a pixel is inside when its logit is above 0",
    "iou_predictions": "predicted IoU of each mask",
    "image_keys": "the image's part of the decoder's keys, queries and output projections, "
    "head by head",
    "image_values": "the image's part of the values of its attentions to the image, head by head",
    "image_norms": "the image's part of the sums of squares in its layer norms",
    "image_features": "the image's part of the image tokens, after the first upscaling",
    "mask_tokens": "one vector for each output mask",
    "mask_scale": "factor of image_features in the image tokens as the prompt has changed them",
    "mask_weights": "factors of mask_values in them",
    "mask_values": "vectors that the prompt adds to them, after the first upscaling",
}


def graph_specs(
    image_size: int, channels: int, *, outputs: int = 4, heads: int = 8, inner: int = 128
) -> dict[str, Specs]:
    """Inputs and outputs of the graph of every role; ``heads`` and ``inner`` are those of the
    decoder's attention to the image. Dynamic dimensions are called as in :func:`numbers`."""
    grid, low = image_size // 16, image_size // 4
    tokens, width = grid * grid, inner // heads
    embeddings = TensorSpec("image_embeddings", (1, channels, grid, grid))
    coords = TensorSpec("point_coords", ("prompts", "points", 2))
    labels = TensorSpec("point_labels", ("prompts", "points"))
    masks = TensorSpec("low_res_masks", ("prompts", outputs, low, low))
    iou = TensorSpec("iou_predictions", ("prompts", outputs))
    # Numbers of them: see samdeploy.models.restructured.
    prepared = (
        TensorSpec("image_keys", (11, heads, width, tokens)),
        TensorSpec("image_values", (3, heads, tokens, width)),
        TensorSpec("image_norms", (3, tokens)),
    )
    features = TensorSpec("image_features", ("rows", "columns", channels))
    wanted = (
        TensorSpec("mask_tokens", ("prompts", outputs, channels)),
        TensorSpec("mask_scale", ("prompts", 1, "positions")),
        TensorSpec("mask_weights", ("prompts", "values", "positions")),
        TensorSpec("mask_values", ("prompts", "values", channels)),
    )
    part = TensorSpec("low_res_masks", ("prompts", outputs, "height", "width"))
    mask_input = TensorSpec("mask_input", ("prompts", 1, low, low))
    has_mask_input = TensorSpec("has_mask_input", ("prompts",))
    return {
        ENCODER: ((TensorSpec("image", (1, 3, image_size, image_size)),), (embeddings,)),
        DECODER: ((embeddings, coords, labels, mask_input, has_mask_input), (masks, iou)),
        PREPARE: ((embeddings,), (*prepared, features)),
        SCORER: ((*prepared, coords, labels), (iou, *wanted)),
        MASK_HEAD: ((features, *wanted), (part,)),
    }


def numbers(
    prompts: int, points: int, grid: int, *, outputs: int = 4, heads: int = 8, tokens: int = 1
) -> dict[str, int]:
    """The dynamic dimensions in a call: ``prompts``, ``points`` (tokens of each),
    ``values`` (what the scorer then gives of them), ``positions`` in ``rows`` and ``columns`` of
    image tokens (all; the mask head takes the first of them as well), and ``height`` and ``width``
    of its masks. The decoder has ``tokens`` of its own beside one for each of its ``outputs``."""
    values = 2 * heads * (outputs + tokens + points) + 1
    image = {"positions": grid * grid, "rows": grid, "columns": grid}
    masks = {"height": 4 * grid, "width": 4 * grid}
    return {"prompts": prompts, "points": points, "values": values, **image, **masks}


def check_specs(
    found: Mapping[str, Specs],
    image_size: int,
    channels: int,
    source: object,
    specs_of: Callable[..., dict[str, Specs]] = graph_specs,
) -> None:
    """Compare the tensors that a manifest tells with those of :func:`graph_specs`, or of a family
    with a decoder like SAM's; see :class:`~samdeploy.contracts.Contract`."""
    shapes = {spec.name: spec.shape for specs in found.values() for spec in (*specs[0], *specs[1])}
    # These three numbers are told nowhere else; a name in the place of one fits nothing.
    counted = (shapes["low_res_masks"][1], *shapes.get("image_keys", (11, 8, 16, 1))[1:3])
    outputs, heads, width = (side if isinstance(side, int) else 0 for side in counted)
    inner = heads * width
    expected = specs_of(image_size, channels, outputs=outputs, heads=heads or 1, inner=inner)
    for role, specs in found.items():
        if specs != expected[role]:
            raise BundleError(
                f"'{source}' tells tensors of the {role} graph that no model of {image_size} "
                f"pixels and {channels} channels has; export it again."
            )


def _implied(sizes: Mapping[str, int]) -> dict[str, int]:
    """A mask has four pixels along every side of an image token."""
    if "rows" not in sizes:
        return {}
    return {"height": 4 * sizes["rows"], "width": 4 * sizes["columns"]}


def contract_like_sam(
    specs_of: Callable[..., dict[str, Specs]], meanings: Mapping[str, str]
) -> Contract:
    """The contract of a family with a decoder like SAM's: ``specs_of`` is its
    :func:`graph_specs`, ``meanings`` are those of the tensors that SAM does not have."""
    return Contract(
        graphs=(ROLES, ALL_ROLES),
        tensors=specs_of(64, 8),
        meanings={**MEANING, **meanings},
        per_call=("prompts", "points", "values"),
        implied=_implied,
        check=partial(check_specs, specs_of=specs_of),
    )


SAM_CONTRACT = contract_like_sam(graph_specs, {})
