"""EdgeTAM in every format, against numbers of the official implementation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from samdeploy.bundle import Bundle
from samdeploy.exporting.pipeline import export
from samdeploy.prompts import Prompt
from samdeploy.sam import SAM
from samdeploy.session import RuntimeOptions
from tests.seeded import seeded_state

pytestmark = pytest.mark.exporting

FOLDER = Path(__file__).parent / "golden" / "edgetam"
RECIPE = json.loads((FOLDER / "recipe.json").read_text())

Arrays = dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def picture() -> NDArray[np.uint8]:
    image = Image.open(FOLDER.parent / "sam2" / "sam2_small" / "image.png")
    return np.asarray(image.convert("RGB"))


def answers(sam: SAM, picture: NDArray[np.uint8], size: str, stride: int) -> tuple[Arrays, Arrays]:
    """Numbers by their names in the golden file, and the masks of each prompt that has none."""
    embedding = sam.encode(picture, channel_order="rgb")
    tensors = embedding.tensors
    found = {"image": tensors["image_embeddings"]}
    found |= {f"level_{level}": tensors[f"high_res_feats_{level}"] for level in (0, 1)}
    masks = {}
    for stored in RECIPE["prompts"][size]:
        if stored["mask_input_disc_cx_cy_r"]:
            continue
        prompt = Prompt(
            points=stored["point_coords_original"],
            labels=stored["point_labels"],
            box=stored["box_original"],
        )
        several = sam.predict(embedding, prompts=[prompt], multimask=True)
        assert several.low_res_logits is not None
        name = stored["name"]
        found[f"{name}/logits"] = several.low_res_logits[:, ::stride, ::stride]
        found[f"{name}/scores"] = several.scores
        masks[name] = several.data
        single = sam.predict(embedding, prompts=[prompt])
        token = stored["single_mask_token"]
        assert token > 0, "the first of all masks is not among the several"
        assert np.array_equal(single.data[0], several.data[token - 1])
    return found, masks


def assert_close(found: NDArray[Any], expected: NDArray[Any], name: str) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max(), name


@pytest.mark.parametrize(
    ("format", "runtime"),
    [
        pytest.param("onnx", "onnxruntime", marks=pytest.mark.slow),
        pytest.param("openvino", "openvino", marks=[pytest.mark.slow, pytest.mark.overnight]),
        pytest.param("coreml", "mil", marks=[pytest.mark.slow, pytest.mark.overnight]),
        pytest.param("mnn", "mnn", marks=[pytest.mark.slow, pytest.mark.overnight]),
    ],
)
def test_small(picture: NDArray[np.uint8], tmp_path: Path, format: str, runtime: str) -> None:
    torch.save({"model": seeded_state(FOLDER / "small.json")}, tmp_path / "small.pt")
    more: dict[str, Any] = {"max_prompts": 8} if format == "coreml" else {}
    folder = export(
        tmp_path / "small.pt", format, output=tmp_path / "bundle", config={"image_size": 256},
        **more,
    )  # fmt: skip
    manifest = Bundle.open(folder).manifest
    assert manifest.verification.passed
    assert (manifest.family, manifest.architecture) == ("sam2", "edgetam_16x7")
    with np.load(FOLDER / "small.npz") as stored:
        expected = dict(stored)
    options = RuntimeOptions(precision="fp32")
    with SAM(folder, runtime=runtime, device="cpu", options=options) as sam:
        found, masks = answers(sam, picture, "small", 2)
    assert_close(found["image"][:, ::2], expected["image_embed"], "image")
    assert_close(found["level_0"][:, ::2, ::4, ::4], expected["high_res_feat_0"], "level 0")
    assert_close(found["level_1"][:, ::2, ::2, ::2], expected["high_res_feat_1"], "level 1")
    assert masks.keys() == {"one_point", "box_neg_point"}
    for name, several in masks.items():
        logits = expected[f"{name}/low_res_logits_stride2"][0, 1:]
        assert_close(found[f"{name}/logits"], logits, name)
        assert_close(found[f"{name}/scores"], expected[f"{name}/iou_predictions"][0, 1:], name)
        wanted = np.unpackbits(expected[f"{name}/mask_bits"][0, 1:], axis=-1, count=300) > 0
        both, either = (several & wanted).sum((1, 2)), (several | wanted).sum((1, 2))
        assert (both / either).min() >= 0.999


@pytest.mark.full_size
@pytest.mark.overnight
def test_published(picture: NDArray[np.uint8], tmp_path: Path) -> None:
    torch.save({"model": seeded_state(FOLDER / "edgetam.json")}, tmp_path / "edgetam.pt")
    folder = export(tmp_path / "edgetam.pt", "onnx", output=tmp_path / "bundle")
    manifest = Bundle.open(folder).manifest
    assert manifest.verification.passed
    assert manifest.architecture == "edgetam"
    with np.load(FOLDER / "full.npz") as stored:
        expected = dict(stored)
    with SAM(folder, runtime="onnxruntime", device="cpu") as sam:
        found, masks = answers(sam, picture, "full", 8)
    assert_close(found["image"][:, ::16, ::2, ::2], expected["image_embed_c16_s2"], "image")
    for level in (0, 1):
        fine = found[f"level_{level}"][..., ::16, ::16]
        assert_close(fine, expected[f"high_res_feat_{level}_s16"], f"level {level}")
    for name in masks:
        logits = expected[f"{name}/low_res_logits_stride8"][0, 1:]
        assert_close(found[f"{name}/logits"], logits, name)
        assert_close(found[f"{name}/scores"], expected[f"{name}/iou_predictions"][0, 1:], name)
