"""One answer on every backend: the official prompts and whole-image lists, in float32."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from samdeploy import SAM
from samdeploy.exporting.metrics import mask_iou
from samdeploy.geometry import Transform
from samdeploy.graphs import DECODER, ENCODER, ROLES
from samdeploy.masks.rle import Rle
from samdeploy.opening import open_graphs
from samdeploy.prompts import Prompt, encode_prompts
from samdeploy.registry import RUNTIMES, availability
from samdeploy.session import Array, RuntimeOptions

pytestmark = pytest.mark.exporting

GOLDEN = Path(__file__).parents[1] / "golden"

#: Runtime, and the fixture that holds what it opens.
BACKENDS = {
    "torch": "small_checkpoint",
    "onnxruntime": "small_bundle",
    "openvino": "small_openvino_bundle",
    "mil": "small_coreml_bundle",
    "mnn": "small_mnn_bundle",
}


_MARKS = {"mil": [pytest.mark.slow], "mnn": [pytest.mark.slow, pytest.mark.overnight]}


def golden_prompts() -> list[dict[str, Any]]:
    listed = json.loads((GOLDEN / "sam_vit_small/prompts.json").read_text())["prompts"]
    # Points with the labels of a box and of padding are not prompts of the public interface.
    return [p for p in listed if p["name"] not in ("label_2_3", "label_minus1")]


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=_MARKS.get(name, ())) for name in BACKENDS],
)
def backend(request: pytest.FixtureRequest) -> tuple[str, Path]:
    if not availability(RUNTIMES, request.param).usable:
        pytest.skip(f"{request.param} is not installed")
    return request.param, request.getfixturevalue(BACKENDS[request.param])


@pytest.fixture(scope="module")
def options(backend: tuple[str, Path], small_config: Path) -> RuntimeOptions:
    config = small_config if backend[0] == "torch" else None
    return RuntimeOptions(precision="fp32", config=config)


@pytest.fixture(scope="module")
def outputs() -> dict[str, Array]:
    with np.load(GOLDEN / "sam_vit_small/outputs.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def sam(backend: tuple[str, Path], options: RuntimeOptions) -> Iterator[SAM]:
    runtime, source = backend
    with SAM(source, runtime=runtime, device="cpu", options=options) as opened:
        yield opened


def rows(value: Any, batch: int, width: int) -> list[Any]:
    if value is None:
        return [None] * batch
    return list(np.array(value, np.float64).reshape(batch, -1, width))


@pytest.mark.parametrize("prompt", golden_prompts(), ids=lambda prompt: prompt["name"])
def test_official_prompts(
    sam: SAM, photo: NDArray[np.uint8], outputs: dict[str, Array], prompt: dict[str, Any]
) -> None:
    batch, mask = prompt["batch"], outputs.get(f"{prompt['name']}/mask_input")
    prompts = [
        Prompt(
            points=points,
            labels=None if points is None else labels.ravel().astype(int),
            box=None if box is None else box[0],
            mask=None if mask is None else mask.reshape(64, 64),
        )
        for points, labels, box in zip(
            rows(prompt["point_coords_original"], batch, 2),
            rows(prompt["point_labels"], batch, 1),
            rows(prompt["boxes_original"], batch, 4),
            strict=True,
        )
    ]
    embedding = sam.encode(photo, "rgb")
    expected = outputs[f"{prompt['name']}/low_res_logits"]
    ratings = outputs[f"{prompt['name']}/iou_predictions"]
    for multimask, chosen in ((False, slice(0, 1)), (True, slice(1, 4))):
        found = sam.predict(embedding, prompts=prompts, multimask=multimask)
        assert found.low_res_logits is not None
        logits = found.low_res_logits.reshape(batch, -1, 64, 64)
        assert mask_iou(logits, expected[:, chosen]).min() >= 0.99
        np.testing.assert_allclose(found.scores.reshape(batch, -1), ratings[:, chosen], atol=1e-3)


@pytest.mark.parametrize("name", ["base", "crops"])
def test_official_whole_image_lists(sam: SAM, photo: NDArray[np.uint8], name: str) -> None:
    settings = json.loads((GOLDEN / "amg/settings.json").read_text())["settings"][name]["settings"]
    expected = json.loads((GOLDEN / f"amg/{name}.json").read_text())["masks"]
    given = {k: v for k, v in settings.items() if v is not None}
    found = sam.generate(photo, channel_order="rgb", **given)
    reference = np.stack([Rle.from_coco(mask["segmentation"]).decode() for mask in expected])
    # A mask on the edge of a threshold may come or go with the last bit of the arithmetic.
    assert abs(len(found) - len(reference)) <= 0.02 * len(reference)
    overlaps = [max(_overlap(mask, other) for other in found.data) >= 0.99 for mask in reference]
    assert np.mean(overlaps) >= 0.98


def _overlap(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float(np.count_nonzero(a & b) / max(1, np.count_nonzero(a | b)))


def test_the_encoder_alone(
    backend: tuple[str, Path], options: RuntimeOptions, outputs: dict[str, Array]
) -> None:
    from samdeploy.constants import PIXEL_MEAN, PIXEL_STD

    runtime, source = backend
    suffix = {"onnxruntime": ".onnx", "openvino": ".xml", "mil": ".mlpackage", "mnn": ".mnn"}.get(
        runtime
    )
    paths = {role: source / f"{role}{suffix}" if suffix else source for role in ROLES}
    sessions, _ = open_graphs(paths, runtime, "cpu", options)
    mean, std = (np.array(v, np.float32).reshape(1, 3, 1, 1) for v in (PIXEL_MEAN, PIXEL_STD))
    image = (outputs["input_tensor"] * std + mean).astype(np.float32)
    found = sessions[ENCODER].run({"image": image})["image_embeddings"]
    expected = outputs["image_embedding"]
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    prompt = encode_prompts([Prompt(points=[75, 60])], Transform.fit((180, 240), 256), 64)
    answer = sessions[DECODER].run({"image_embeddings": found, **prompt.feeds()})
    reference = outputs["one_point/low_res_logits"]
    assert np.abs(answer["low_res_masks"] - reference).max() <= 1e-4 * np.abs(reference).max()
    for session in sessions.values():
        session.close()
