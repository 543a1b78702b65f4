"""SAM 2.1 tiny at its full size, 1024 pixels, against the official implementation.

Weights are a function of key and shape, so that the outputs for them could be stored.
"""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from samdeploy.bundle import Bundle
from samdeploy.exporting.pipeline import export
from samdeploy.graphs import DECODER, ENCODER
from samdeploy.masks.single_mask import stable_mask
from samdeploy.models.sam2 import Sam2Decoder, Sam2Encoder, load_sam2
from samdeploy.models.sam2.restructured import Sam2MaskHead, Sam2Prepare, Sam2Scorer
from samdeploy.opening import open_graphs
from samdeploy.session import RuntimeOptions

pytestmark = pytest.mark.full_size

NAME = "sam2.1_hiera_tiny"
HALVED = ("point_embed", "no_mask_embed", "not_a_point_embed", "obj_score_token", "iou_token",
          "mask_tokens")  # fmt: skip
VIDEO = ("no_mem_embed", "no_mem_pos_enc", "maskmem_tpos_enc", "no_obj_ptr", "no_obj_embed_spatial")


def weight(key: str, shape: list[int]) -> Tensor:
    """See golden/sam2/full_seeded/recipe.json."""
    values = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape)
    last = key.rpartition(".")[2]
    if last in ("pos_embed", "pos_embed_window"):
        scaled = 0.2 * values
    elif last in VIDEO:
        scaled = 0.5 * values
    elif last == "bias":
        scaled = 0.1 * values
    elif last == "positional_encoding_gaussian_matrix":
        scaled = values
    elif len(shape) == 1:
        scaled = 1 + 0.1 * values
    elif any(part in key for part in HALVED):
        scaled = 0.5 * values
    elif ".output_upscaling." in key:
        scaled = values / math.sqrt(shape[0])
    else:
        gain = 1.5 if key.endswith("qkv.weight") else 0.3 if ".neck." in key else 1.0
        scaled = values * gain / math.sqrt(math.prod(shape[1:]))
    return torch.from_numpy(scaled.astype(np.float32))


def stretched(path: Path, side: int) -> Tensor:
    """``[1, 3, side, side]`` RGB in 0-255, resized in float: never rounded to 8 bits."""
    with Image.open(path) as image:
        channels = [
            band.convert("F").resize((side, side), Image.Resampling.BILINEAR)
            for band in image.convert("RGB").split()
        ]
    return torch.from_numpy(np.stack([np.asarray(band) for band in channels])[None])


def prompt_inputs(prompt: dict[str, Any]) -> list[Tensor]:
    """With the padding token, and a mask where one is told."""
    coords = torch.tensor(prompt["prompt_encoder_coords"])
    labels = torch.tensor(prompt["prompt_encoder_labels"]).float()
    mask, disc = torch.zeros(1, 1, 256, 256), prompt["mask_input_disc_cx_cy_r"]
    if disc:
        x, y = np.meshgrid(np.arange(256), np.arange(256))
        logits = np.clip((disc[2] - np.hypot(x - disc[0], y - disc[1])) * 0.5, -10, 10)
        mask = torch.from_numpy(logits.astype(np.float32))[None, None]
    return [
        torch.cat([coords, torch.zeros(1, 1, 2)], dim=1),
        torch.cat([labels, torch.full((1, 1), -1.0)], dim=1),
        mask,
        torch.tensor([float(disc is not None)]),
    ]


def assert_close(found: Tensor, expected: NDArray[Any]) -> None:
    assert np.abs(found.numpy() - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.fixture
def checkpoint(golden: Path, tmp_path: Path) -> Path:
    """With the part for video, as it is published."""
    listed = json.loads((golden / "sam2" / "checkpoints" / f"{NAME}.json").read_text())["keys"]
    state = {key: weight(key, shape) for key, (shape, _) in listed.items()}
    torch.save({"model": state}, tmp_path / f"{NAME}.pt")
    return tmp_path / f"{NAME}.pt"


def test_the_official_outputs(golden: Path, checkpoint: Path) -> None:
    folder = golden / "sam2"
    sam = load_sam2(checkpoint)
    assert sam.config.architecture == NAME
    with np.load(folder / "full_seeded" / f"{NAME}.npz") as stored:
        expected = dict(stored)
    recipe = json.loads((folder / "full_seeded" / "recipe.json").read_text())
    with torch.inference_mode():
        image = Sam2Encoder(sam)(stretched(folder / "sam2_small" / "image.png", 1024))
        assert_close(image[0][:, ::16, ::2, ::2], expected["image_embed_c16_s2"])
        assert_close(image[0][:, :, ::8, ::8], expected["image_embed_s8"])
        for level in (0, 1):
            name = f"high_res_feat_{level}"
            assert_close(image[1 + level][..., ::16, ::16], expected[f"{name}_s16"])
            means = image[1 + level].double().mean((0, 2, 3))
            assert_close(means, expected[f"{name}_channel_mean"])
        *shared, features, fine, middle = Sam2Prepare(sam)(*image)
        for prompt in recipe["prompts"]:
            name, inputs = prompt["name"], prompt_inputs(prompt)
            logits, iou, score = Sam2Decoder(sam)(*image, *inputs)
            assert_close(logits[..., ::8, ::8], expected[f"{name}/low_res_logits_stride8"])
            assert_close(iou, expected[f"{name}/iou_predictions"])
            assert_close(score, expected[f"{name}/object_score_logits"])
            chosen = stable_mask(logits.numpy(), iou.numpy())
            assert chosen.tolist() == [prompt["single_mask"]["source_token"]]
            if not inputs[3]:
                scores, objects, *wanted = Sam2Scorer(sam)(*shared, *inputs[:2])
                assert_close(scores, iou.numpy())
                assert_close(objects, score.numpy())
                masks = Sam2MaskHead(sam)(features, fine, middle, *wanted)
                assert_close(masks, logits.numpy())


@pytest.mark.overnight
@pytest.mark.parametrize(
    ("format", "runtime"),
    [("onnx", "onnxruntime"), ("openvino", "openvino"), ("coreml", "mil"), ("mnn", "mnn")],
)
def test_exported(
    golden: Path, checkpoint: Path, tmp_path: Path, format: str, runtime: str
) -> None:
    folder = golden / "sam2"
    bundle = Bundle.open(export(checkpoint, format, output=tmp_path / "bundle"))
    assert bundle.manifest.verification.passed
    options = RuntimeOptions(precision="fp32")
    sessions, _ = open_graphs(bundle.graphs(), runtime, "cpu", options, bundle.specs())
    with np.load(folder / "full_seeded" / f"{NAME}.npz") as stored:
        expected = dict(stored)
    recipe = json.loads((folder / "full_seeded" / "recipe.json").read_text())
    image = stretched(folder / "sam2_small" / "image.png", 1024).numpy()
    features = sessions[ENCODER].run({"image": image})
    for found, name in (
        (features["image_embeddings"][:, :, ::8, ::8], "image_embed_s8"),
        (features["high_res_feats_0"][..., ::16, ::16], "high_res_feat_0_s16"),
        (features["high_res_feats_1"][..., ::16, ::16], "high_res_feat_1_s16"),
    ):
        assert_close(torch.from_numpy(found), expected[name])
    names = ("point_coords", "point_labels", "mask_input", "has_mask_input")
    for prompt in recipe["prompts"]:
        name = prompt["name"]
        feeds = zip(names, (each.numpy() for each in prompt_inputs(prompt)), strict=True)
        answer = {key: torch.from_numpy(value) for key, value in
                  sessions[DECODER].run({**features, **dict(feeds)}).items()}  # fmt: skip
        logits = answer["low_res_masks"][..., ::8, ::8]
        assert_close(logits, expected[f"{name}/low_res_logits_stride8"])
        assert_close(answer["iou_predictions"], expected[f"{name}/iou_predictions"])
        assert_close(answer["object_score_logits"], expected[f"{name}/object_score_logits"])
    for session in sessions.values():
        session.close()
