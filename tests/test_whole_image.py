"""Whole-image mode against the lists of the official generator, and on a decoder of discs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from samdeploy.embedding import Embedding
from samdeploy.images import load_image
from samdeploy.models.load import load_sam
from samdeploy.preprocess import preprocess
from samdeploy.prompts import DecoderPrompts
from samdeploy.rle import Rle
from samdeploy.settings import WholeImageSettings
from samdeploy.whole_image import Decode, Encode, generate

GOLDEN = Path(__file__).parent / "golden"
SETTINGS = json.loads((GOLDEN / "amg/settings.json").read_text())["settings"]
Model = tuple[Encode, Decode]


@pytest.fixture(scope="module")
def model() -> Model:
    folder = GOLDEN / "sam_vit_small"
    sam = load_sam(folder / "weights.safetensors", config=folder / "config.json")

    def encode(image: NDArray[np.uint8]) -> Embedding:
        array, transform = preprocess(image, 256)
        with torch.no_grad():
            return Embedding(sam.encode(torch.from_numpy(array)).numpy(), transform)

    def decode(embedding: Embedding, prompts: DecoderPrompts) -> tuple[Any, Any]:
        feeds = {name: torch.from_numpy(value) for name, value in prompts.feeds().items()}
        with torch.no_grad():
            masks, iou = sam.decode(torch.from_numpy(embedding.image_embeddings), **feeds)
        return masks.numpy(), iou.numpy()

    return encode, decode


@pytest.fixture(scope="module")
def picture() -> NDArray[np.uint8]:
    return load_image(GOLDEN / "sam_vit_small/image.png")


def to_xywh(boxes: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


@pytest.mark.parametrize("name", SETTINGS)
def test_list_matches_the_official_generator(
    name: str, model: Model, picture: NDArray[np.uint8]
) -> None:
    given = {k: v for k, v in SETTINGS[name]["settings"].items() if v is not None}
    expected = json.loads((GOLDEN / f"amg/{name}.json").read_text())["masks"]

    found = generate(*model, picture, WholeImageSettings.from_names(given))

    assert len(found) == len(expected)
    reference = np.stack([Rle.from_coco(mask["segmentation"]).decode() for mask in expected])
    assert (found.data != reference).sum(axis=(1, 2)).max() <= 6
    assert np.abs(found.areas - [mask["area"] for mask in expected]).max() <= 6
    np.testing.assert_array_equal(to_xywh(found.boxes), [mask["bbox"] for mask in expected])
    np.testing.assert_array_equal(found.points, [mask["point_coords"][0] for mask in expected])
    assert found.crop_boxes is not None
    np.testing.assert_array_equal(
        to_xywh(found.crop_boxes), [mask["crop_box"] for mask in expected]
    )
    np.testing.assert_allclose(
        found.scores, [mask["predicted_iou"] for mask in expected], atol=1e-4
    )
    np.testing.assert_allclose(
        found.stability, [mask["stability_score"] for mask in expected], atol=3e-3
    )
