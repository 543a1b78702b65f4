"""HQ-SAM on every backend: the official prompts in both modes, and the official whole-image lists,
in float32."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from samdeploy import SAM
from samdeploy.bundle import Bundle
from samdeploy.decoding import Decoding
from samdeploy.masks.rle import Rle
from samdeploy.opening import open_model
from samdeploy.prompts import Prompt, encode_prompts
from samdeploy.session import Array, RuntimeOptions
from tests.conftest import ExportOnce
from tests.golden_prompts import PROMPTS
from tests.hq_models import GOLDEN, config_of, hq_token_only, write_checkpoint

pytestmark = pytest.mark.exporting

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
#: A point with the label of padding is no prompt of the public interface.
ASKED = [prompt for prompt in PROMPTS if prompt["name"] != "label_minus1"]
SIZE = (180, 240)


@pytest.fixture(scope="module")
def expected() -> dict[str, Array]:
    with np.load(GOLDEN / "small_vit.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def mask_inputs() -> dict[str, Array]:
    with np.load(GOLDEN.parent / "sam_vit_small" / "outputs.npz") as stored:
        return {name: stored[name] for name in stored if name.endswith("/mask_input")}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint("small_vit", tmp_path_factory.mktemp("hq"))


@pytest.fixture(scope="session")
def bundle(export_once: ExportOnce, checkpoint: Path) -> Path:
    return export_once("hq_onnx", checkpoint, "onnx", config=config_of("small_vit"))


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=_MARKS.get(name, ())) for name in BACKENDS],
)
def sam(request: pytest.FixtureRequest, export_once: ExportOnce, checkpoint: Path) -> Iterator[SAM]:
    form, config = BACKENDS[request.param], config_of("small_vit")
    options = RuntimeOptions(precision="fp32", config=None if form else config)
    source = checkpoint
    if form:
        more = {"max_prompts": 8} if form == "coreml" else {}
        source = export_once(f"hq_{form}", checkpoint, form, config=config, **more)
    with SAM(source, runtime=request.param, device="cpu", options=options) as opened:
        yield opened


def prompts_of(stored: dict[str, Any], masks: dict[str, Array]) -> list[Prompt]:
    batch, mask = stored["batch"], masks.get(f"{stored['name']}/mask_input")

    def rows(name: str, *shape: int) -> list[Any]:
        value = stored[name]
        return [None] * batch if value is None else list(np.array(value).reshape(batch, *shape))

    columns = (
        rows("point_coords_original", -1, 2),
        rows("point_labels", -1),
        rows("boxes_original", 4),
    )
    return [
        Prompt(
            points=points,
            labels=labels if points is not None else None,
            box=box,
            mask=None if mask is None else mask.reshape(64, 64),
        )
        for points, labels, box in zip(*columns, strict=True)
    ]


def assert_close(found: Array, expected: Array) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


def assert_same_masks(found: Array, bits: Array) -> None:
    masks = np.unpackbits(bits[:, 0], axis=-1, count=SIZE[1]).astype(bool)
    overlap = (found & masks).sum((1, 2)) / (found | masks).sum((1, 2))
    assert overlap.min() >= 0.999


def test_features(sam: SAM, photo: NDArray[np.uint8], expected: dict[str, Array]) -> None:
    found = sam.encode(photo, "rgb").tensors
    assert set(found) == {"image_embeddings", "hq_features"}
    assert_close(found["hq_features"], expected["hq_features"])
    with np.load(GOLDEN.parent / "sam_vit_small" / "outputs.npz") as stored:
        assert_close(found["image_embeddings"], stored["image_embedding"])


@pytest.mark.parametrize("stored", ASKED, ids=lambda prompt: prompt["name"])
def test_official_prompts(
    sam: SAM,
    photo: NDArray[np.uint8],
    expected: dict[str, Array],
    mask_inputs: dict[str, Array],
    stored: dict[str, Any],
) -> None:
    name, batch = stored["name"], stored["batch"]
    prompts = prompts_of(stored, mask_inputs)
    one = sam.predict(photo, prompts=prompts, channel_order="rgb")
    several = sam.predict(photo, prompts=prompts, multimask=True, channel_order="rgb")
    assert one.low_res_logits is not None
    assert several.low_res_logits is not None
    step, suffix = (1, "") if f"{name}/single_logits" in expected else (2, "_stride2")
    scores = several.scores.reshape(batch, 3)
    rows, best = np.arange(batch), scores.argmax(1)
    np.testing.assert_allclose(one.scores, expected[f"{name}/single_iou"][:, 0], atol=1e-4)
    np.testing.assert_allclose(scores, expected[f"{name}/iou_predictions"][:, 1:], atol=1e-4)
    found = one.low_res_logits.reshape(batch, 1, 64, 64)
    assert_close(found[..., ::step, ::step], expected[f"{name}/single_logits{suffix}"])
    three = several.low_res_logits.reshape(batch, 3, 64, 64)[..., ::step, ::step]
    parts = expected[f"{name}/masks_and_hq{suffix}"]
    assert_close(three, parts[:, 1:4] + parts[:, 4:])
    assert_close(three[rows, best, None], expected[f"{name}/multi_logits{suffix}"])
    assert_same_masks(one.data, expected[f"{name}/single_bits"])
    several_masks = several.data.reshape(batch, 3, *SIZE)[rows, best]
    assert_same_masks(several_masks, expected[f"{name}/multi_bits"])


@pytest.mark.parametrize("name", ["base", pytest.param("crops", marks=pytest.mark.slow)])
@pytest.mark.parametrize("exact", [False, True])
def test_official_whole_image_lists(
    sam: SAM, photo: NDArray[np.uint8], name: str, exact: bool
) -> None:
    """One mask a point: that of the largest predicted IoU."""
    stored = json.loads((GOLDEN / "amg.json").read_text())[name]
    found = sam.generate(photo, channel_order="rgb", exact=exact, **stored["settings"])
    assert len(found) == len(stored["masks"]) >= 10
    for mask, other in zip(found.data, stored["masks"], strict=True):
        assert (mask != Rle.from_coco(other["segmentation"]).decode()).sum() <= 6
    np.testing.assert_allclose(
        found.scores, [mask["predicted_iou"] for mask in stored["masks"]], atol=1e-4
    )


def test_what_a_bundle_says(bundle: Path) -> None:
    manifest = Bundle.open(bundle).manifest
    assert (manifest.family, manifest.architecture) == ("sam_hq", "sam_hq_vit_48x4")
    assert manifest.whole_image == {"best_only": True}
    assert manifest.verification.passed


def test_the_high_quality_mask_alone(
    export_once: ExportOnce, checkpoint: Path, photo: NDArray[np.uint8], expected: dict[str, Array]
) -> None:
    config = hq_token_only(config_of("small_vit"))
    only = export_once("hq_only_onnx", checkpoint, "onnx", config=config)
    stored = next(prompt for prompt in ASKED if prompt["name"] == "one_point")
    with SAM(only, runtime="onnxruntime", device="cpu") as sam:
        found = sam.predict(photo, prompts=prompts_of(stored, {}), channel_order="rgb")
    assert found.low_res_logits is not None
    assert_close(found.low_res_logits[:, None], expected["one_point/masks_and_hq"][:, 4:])
    assert_same_masks(found.data, expected["one_point/single_hq_only_bits"])


@pytest.mark.slow
@pytest.mark.overnight
def test_light_hq_sam(
    export_once: ExportOnce, tmp_path: Path, photo: NDArray[np.uint8], mask_inputs: dict[str, Array]
) -> None:
    """A TinyViT, whose batch norms are folded."""
    path, config = write_checkpoint("small_light", tmp_path), config_of("small_light")
    light = export_once("hq_light_onnx", path, "onnx", config=config)
    with np.load(GOLDEN / "small_light.npz") as arrays:
        expected = dict(arrays)
    with SAM(light, runtime="onnxruntime", device="cpu") as sam:
        features = sam.encode(photo, "rgb").tensors["hq_features"]
        assert_close(features[..., ::4, ::4], expected["hq_features_stride4"])
        for stored in ASKED:
            name = stored["name"]
            if f"{name}/single_iou" not in expected:
                continue
            prompts = prompts_of(stored, mask_inputs)
            found = sam.predict(photo, prompts=prompts, channel_order="rgb")
            assert found.low_res_logits is not None
            logits = found.low_res_logits[:, None, ::2, ::2]
            assert_close(logits, expected[f"{name}/single_logits_stride2"])
            assert_same_masks(found.data, expected[f"{name}/single_bits"])


@pytest.mark.parametrize("cells", [(48, 64), (33, 20), (63, 62), (1, 1)])
def test_a_part_of_the_masks(
    bundle: Path, photo: NDArray[np.uint8], cells: tuple[int, int]
) -> None:
    """What is asked for is what the whole masks have there, for all that the mask head sees no
    further."""
    opened = open_model(bundle, runtime="onnxruntime", device="cpu")
    with SAM(bundle, runtime="onnxruntime", device="cpu") as sam:
        embedding = sam.encode(photo, "rgb")
    prompts = encode_prompts([Prompt(points=[[75, 60]])], embedding.transform, 64)
    answer = Decoding(opened.sessions)(embedding, prompts)
    rows, (height, width) = np.array([0]), cells
    whole, part = answer.masks(rows), answer.masks(rows, cells)
    # One cell more: interpolation reads it.
    wanted = whole[..., : height + 1, : width + 1]
    assert np.abs(part[..., : height + 1, : width + 1] - wanted).max() <= 1e-5 * np.abs(whole).max()
    assert part.shape[2] < 64 or height > 56
    opened.close()
