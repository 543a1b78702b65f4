"""SAM 2.1 on every backend: the official prompts, the choice of the single mask, and the official
whole-image lists, in float32."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from samdeploy import SAM
from samdeploy.exporting.metrics import mask_iou
from samdeploy.graphs import ENCODER
from samdeploy.masks.rle import Rle
from samdeploy.opening import open_model
from samdeploy.prompts import Prompt
from samdeploy.session import Array, RuntimeOptions
from tests.conftest import ExportOnce

pytestmark = pytest.mark.exporting

GOLDEN = Path(__file__).parents[1] / "golden" / "sam2"
#: Runtime, and the format that it opens.
BACKENDS = {
    "torch": "",
    "onnxruntime": "onnx",
    "openvino": "openvino",
    "mil": "coreml",
    "mnn": "mnn",
}
_MARKS = {
    "openvino": [pytest.mark.slow, pytest.mark.overnight],
    "mil": [pytest.mark.slow, pytest.mark.overnight],
    "mnn": [pytest.mark.slow, pytest.mark.overnight],
}
#: Points with the labels of a box, of padding, and outside the image are not prompts of the public
#: interface.
NOT_PROMPTS = ("label_2_3", "label_minus1", "outside_points")
PROMPTS = [
    prompt
    for prompt in json.loads((GOLDEN / "sam2_small" / "prompts.json").read_text())["prompts"]
    if prompt["name"] not in NOT_PROMPTS
]


@pytest.fixture(scope="module")
def picture_of_two() -> NDArray[np.uint8]:
    return np.asarray(Image.open(GOLDEN / "sam2_small" / "image.png").convert("RGB"))


@pytest.fixture(scope="module")
def outputs() -> dict[str, Array]:
    with np.load(GOLDEN / "sam2_small" / "outputs.npz") as stored:
        return dict(stored)


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=_MARKS.get(name, ())) for name in BACKENDS],
)
def sam(
    request: pytest.FixtureRequest,
    export_once: ExportOnce,
    sam2_checkpoint: Path,
    sam2_config: dict[str, Any],
) -> Iterator[SAM]:
    form = BACKENDS[request.param]
    options = RuntimeOptions(precision="fp32", config=None if form else sam2_config)
    source = sam2_checkpoint
    if form:
        more = {"max_prompts": 8} if form == "coreml" else {}
        source = export_once(f"sam2_{form}", sam2_checkpoint, form, config=sam2_config, **more)
    with SAM(source, runtime=request.param, device="cpu", options=options) as opened:
        yield opened


def rows(value: Any, batch: int, width: int) -> list[Any]:
    return [None] * batch if value is None else list(np.array(value).reshape(batch, -1, width))


def prompts_of(stored: dict[str, Any], outputs: dict[str, Array]) -> list[Prompt]:
    batch, mask = stored["batch"], outputs.get(f"{stored['name']}/mask_input")
    columns = (
        rows(stored["point_coords_original"], batch, 2),
        rows(stored["point_labels"], batch, 1),
        rows(stored["boxes_original"], batch, 4),
    )
    return [
        Prompt(
            points=points,
            labels=None if points is None else labels.ravel(),
            box=None if box is None else box[0],
            mask=None if mask is None else mask.reshape(64, 64),
        )
        for points, labels, box in zip(*columns, strict=True)
    ]


def test_features(sam: SAM, picture_of_two: NDArray[np.uint8], outputs: dict[str, Array]) -> None:
    found = sam.encode(picture_of_two, "rgb").tensors
    for ours, official in (
        ("image_embeddings", "image_embed"),
        ("high_res_feats_0", "high_res_feat_0"),
        ("high_res_feats_1", "high_res_feat_1"),
    ):
        expected = outputs[official]
        assert np.abs(found[ours] - expected).max() <= 1e-4 * np.abs(expected).max(), ours


@pytest.mark.parametrize("stored", PROMPTS, ids=lambda prompt: prompt["name"])
def test_official_prompts(
    sam: SAM,
    picture_of_two: NDArray[np.uint8],
    outputs: dict[str, Array],
    stored: dict[str, Any],
) -> None:
    name, batch = stored["name"], stored["batch"]
    prompts = prompts_of(stored, outputs)
    ratings = outputs[f"{name}/iou_predictions"]
    several = sam.predict(picture_of_two, prompts=prompts, multimask=True, channel_order="rgb")
    one = sam.predict(picture_of_two, prompts=prompts, channel_order="rgb")
    assert several.low_res_logits is not None
    if (expected := outputs.get(f"{name}/low_res_logits")) is not None:
        logits = several.low_res_logits.reshape(batch, -1, 64, 64)
        assert np.abs(logits - expected[:, 1:]).max() <= 1e-4 * np.abs(expected).max()
        assert mask_iou(logits, expected[:, 1:]).min() >= 0.999
    np.testing.assert_allclose(several.scores.reshape(batch, -1), ratings[:, 1:], atol=1e-4)
    np.testing.assert_allclose(one.scores, outputs[f"{name}/single_iou"].reshape(-1), atol=1e-4)
    chosen = stored["single_mask"]["source_token"]
    picked = ratings[np.arange(batch), chosen]
    np.testing.assert_allclose(one.scores, picked, atol=1e-4)
    for found, key in ((several, "mask_bits"), (one, "single_mask_bits")):
        bits = outputs[f"{name}/{key}"]
        masks = np.unpackbits(bits, axis=-1, count=picture_of_two.shape[1]).astype(bool)
        if key == "mask_bits":
            masks = masks[:, 1:]
        masks = masks.reshape(-1, *picture_of_two.shape[:2])
        assert (found.data != masks).sum(axis=(1, 2)).max() <= 6


def test_both_ways_of_choosing_are_there() -> None:
    chosen = [token for prompt in PROMPTS for token in prompt["single_mask"]["source_token"]]
    assert 0 in chosen and set(chosen) - {0}


@pytest.mark.parametrize(
    "name",
    [
        "base",
        pytest.param("m2m", marks=pytest.mark.slow),
        pytest.param("crops", marks=pytest.mark.slow),
        pytest.param("m2m_single_offset_half", marks=pytest.mark.slow),
        pytest.param("single_mask", marks=pytest.mark.slow),
    ],
)
def test_official_whole_image_lists(sam: SAM, picture_of_two: NDArray[np.uint8], name: str) -> None:
    stored = json.loads((GOLDEN / "amg" / "settings.json").read_text())["settings"][name]
    given = {k: v for k, v in stored["settings"].items() if v is not None}
    assert given.pop("mask_threshold") == 0
    expected = json.loads((GOLDEN / "amg" / f"{name}.json").read_text())["masks"]
    masks = [Rle.from_coco(mask["segmentation"]).decode() for mask in expected]
    ratings = [mask["predicted_iou"] for mask in expected]
    for exact in (False, True) if sam.info(verbose=False)["runtime"] == "onnxruntime" else (False,):
        found = sam.generate(picture_of_two, channel_order="rgb", exact=exact, **given)
        assert len(found) == len(expected)
        assert (found.data != np.stack(masks)).sum(axis=(1, 2)).max() <= 6
        np.testing.assert_allclose(found.scores, ratings, atol=1e-4)


def test_logits_that_are_prompts_again_are_cut_off(
    sam: SAM, picture_of_two: NDArray[np.uint8]
) -> None:
    logits = np.where(np.arange(64) < 32, 32, -32) * np.ones((64, 1), np.float32)
    one, other = (
        sam.predict(picture_of_two, points=[[96, 88]], masks=[factor * logits], channel_order="rgb")
        for factor in (np.float32(1), np.float32(5))
    )
    np.testing.assert_array_equal(one.low_res_logits, other.low_res_logits)


def test_its_own_recommendations(sam: SAM) -> None:
    facts = sam.info(verbose=False)
    assert facts["whole_image"] == {"conf_thres": 0.8}


def test_the_cache_knows_how_images_are_prepared(
    sam2_checkpoint: Path, sam2_config: dict[str, Any]
) -> None:
    keys = set()
    for how in ({}, {"preprocess": {"resampling": "bicubic"}}):
        opened = open_model(sam2_checkpoint, options=RuntimeOptions(config={**sam2_config, **how}))
        keys.add(opened.encoder_key)
        assert opened.sessions[ENCODER].inputs[0].shape == (1, 3, 256, 256)
        opened.close()
    assert len(keys) == 2
