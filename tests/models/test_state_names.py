"""Names of weights as other programs write them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from samdeploy.errors import CheckpointError
from samdeploy.models.state_names import find_state, published_names, published_of

#: The other way round: published names to those of Hugging Face's ``SamModel``, in this order.
TO_HUGGING_FACE = [
    (r"^image_encoder\.", "vision_encoder."),
    (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
    (r"\.blocks\.", ".layers."),
    (r"(vision_encoder\.layers\.\d+)\.norm(\d)", r"\1.layer_norm\2"),
    (r"\.neck\.0\.", ".neck.conv1."),
    (r"\.neck\.1\.", ".neck.layer_norm1."),
    (r"\.neck\.2\.", ".neck.conv2."),
    (r"\.neck\.3\.", ".neck.layer_norm2."),
    (r"mask_downscaling\.0\.", "mask_embed.conv1."),
    (r"mask_downscaling\.1\.", "mask_embed.layer_norm1."),
    (r"mask_downscaling\.3\.", "mask_embed.conv2."),
    (r"mask_downscaling\.4\.", "mask_embed.layer_norm2."),
    (r"mask_downscaling\.6\.", "mask_embed.conv3."),
    (r"point_embeddings\.", "point_embed."),
    (r"pe_layer\.positional_encoding_gaussian_matrix", "shared_embedding.positional_embedding"),
    (r"output_upscaling\.0\.", "upscale_conv1."),
    (r"output_upscaling\.1\.", "upscale_layer_norm."),
    (r"output_upscaling\.3\.", "upscale_conv2."),
    (r"norm_final_attn", "layer_norm_final_attn"),
    (r"(transformer\.layers\.\d+)\.norm(\d)", r"\1.layer_norm\2"),
    (r"((?:iou_prediction_head|mlps\.\d))\.layers\.0\.", r"\1.proj_in."),
    (r"((?:iou_prediction_head|mlps\.\d))\.layers\.1\.", r"\1.layers.0."),
    (r"((?:iou_prediction_head|mlps\.\d))\.layers\.2\.", r"\1.proj_out."),
]


def hugging_face(name: str) -> str:
    for pattern, replacement in TO_HUGGING_FACE:
        name = re.sub(pattern, replacement, name)
    return name


#: As transformers 4.57 wrote them into a file.
WRITTEN = {
    "shared_image_embedding.positional_embedding": "prompt_encoder.pe_layer"
    ".positional_encoding_gaussian_matrix",
    "vision_encoder.patch_embed.projection.bias": "image_encoder.patch_embed.proj.bias",
    "vision_encoder.layers.3.layer_norm1.weight": "image_encoder.blocks.3.norm1.weight",
    "vision_encoder.layers.3.attn.rel_pos_h": "image_encoder.blocks.3.attn.rel_pos_h",
    "vision_encoder.neck.layer_norm2.bias": "image_encoder.neck.3.bias",
    "prompt_encoder.point_embed.2.weight": "prompt_encoder.point_embeddings.2.weight",
    "prompt_encoder.mask_embed.conv3.weight": "prompt_encoder.mask_downscaling.6.weight",
    "mask_decoder.transformer.layers.1.layer_norm4.bias": "mask_decoder.transformer.layers.1"
    ".norm4.bias",
    "mask_decoder.transformer.layer_norm_final_attn.bias": "mask_decoder.transformer"
    ".norm_final_attn.bias",
    "mask_decoder.upscale_layer_norm.weight": "mask_decoder.output_upscaling.1.weight",
    "mask_decoder.iou_prediction_head.proj_out.bias": "mask_decoder.iou_prediction_head"
    ".layers.2.bias",
    "mask_decoder.iou_prediction_head.layers.0.bias": "mask_decoder.iou_prediction_head"
    ".layers.1.bias",
}


def test_written_names() -> None:
    assert published_of(WRITTEN) == WRITTEN


@pytest.mark.parametrize("name", ["vit_b", "vit_l", "vit_h"])
def test_every_name_of_hugging_face(golden: Path, name: str) -> None:
    published = json.loads((golden / "checkpoints" / f"{name}.json").read_text())["keys"]
    theirs = {hugging_face(key): key for key in published}
    assert len(theirs) == len(published)
    assert published_of(theirs) == theirs


def test_heads_of_another_depth() -> None:
    head = "mask_decoder.iou_prediction_head"
    theirs = [f"{head}.{part}.weight" for part in ("proj_in", "layers.0", "layers.1", "proj_out")]
    assert [*published_of(theirs).values()] == [f"{head}.layers.{i}.weight" for i in range(4)]


def test_published_names_stay(golden: Path) -> None:
    published = json.loads((golden / "checkpoints" / "vit_t.json").read_text())["keys"]
    state = dict.fromkeys(published, torch.zeros(1))
    assert published_names(state, "x") == state


TABLE = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"


@pytest.mark.parametrize("same", [True, False])
def test_a_table_with_two_names(same: bool) -> None:
    state = {
        "vision_encoder.pos_embed": torch.zeros(1),
        "shared_image_embedding.positional_embedding": torch.ones(2),
        "prompt_encoder.shared_embedding.positional_embedding": torch.ones(2) * (2 - same),
    }
    if same:
        assert sorted(find_state(state, "x")) == ["image_encoder.pos_embed", TABLE]
    else:
        with pytest.raises(CheckpointError, match=f"'{TABLE}' twice with different values"):
            find_state(state, "x")


SMALL = {"image_encoder.pos_embed": torch.zeros(1), "mask_decoder.iou_token.weight": torch.ones(1)}


def named(change: Any, state: dict[str, Tensor] = SMALL) -> dict[str, Tensor]:
    return {change(key): value for key, value in state.items()}


@pytest.mark.parametrize(
    "content",
    [
        SMALL,
        named("module.{}".format),
        named("_orig_mod.{}".format),
        named("_orig_mod.module.{}".format),
        named("model.{}".format),
        named("sam.{}".format),
        named("net.sam_model._orig_mod.{}".format),
        named(lambda key: key.replace("encoder.", "encoder._orig_mod.")),
        named(lambda key: key.replace("decoder.", "decoder._fsdp_wrapped_module.")),
        {"state_dict": named("model.{}".format), "pytorch-lightning_version": "2.5", "epoch": 3},
        {"model_state": SMALL, "config": {"lr": 1.0}},
        {"model_state_dict": SMALL, "optimizer_state_dict": {"state": {0: {"x": torch.ones(1)}}}},
        {"ema": SMALL},
        {"ema": {"module": named("module.{}".format) | {"n_averaged": torch.ones(())}}},
        {"model": SMALL, "best": SMALL},
    ],
)
def test_weights_are_found_wherever_they_are(content: Any) -> None:
    assert find_state(content, "x") == SMALL


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"model": SMALL, "ema": dict(SMALL)}, r"2 models \(at 'model\.', 'ema\.'\)"),
        (
            {"state_dict": named("student.{}".format) | named("teacher.{}".format)},
            r"2 models \(at 'state_dict\.student\.', 'state_dict\.teacher\.'\)",
        ),
        ({**SMALL, 3: torch.ones(1)}, "holds Tensor; expected a state dict"),
        ({**SMALL, "epoch": 3}, "holds 'epoch': int; expected a state dict"),
        ({"trunk.pos_embed": torch.ones(1)}, "that begins with 'trunk.pos_embed'; expected the"),
        ([SMALL], "holds a list; expected"),
        ({"a": {"b": {"c": {"d": SMALL}}}}, "holds a dict that begins with 'a'"),
    ],
)
def test_what_is_not_the_weights_of_one_model(content: Any, says: str) -> None:
    with pytest.raises(CheckpointError, match=f"^'x' .*{says}"):
        find_state(content, "x")


def test_what_holds_itself_ends() -> None:
    content: dict[str, Any] = {}
    content |= {str(index): content for index in range(100)}
    with pytest.raises(CheckpointError, match="holds a dict"):
        find_state(content, "x")
