"""The encoder input: resized, padded with the pixel mean, not normalised."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from samdeploy.constants import PIXEL_MEAN, PIXEL_STD
from samdeploy.images import load_image
from samdeploy.preprocess import preprocess

GOLDEN = Path(__file__).parent / "golden"
CASES = json.loads((GOLDEN / "preprocess/preprocess.json").read_text())["cases"]


def normalised(pixels: np.ndarray) -> np.ndarray:
    mean, std = (np.array(v, np.float32).reshape(3, 1, 1) for v in (PIXEL_MEAN, PIXEL_STD))
    return (pixels - mean) / std


@pytest.mark.parametrize("name", CASES)
def test_input_matches_the_official_one_once_normalised(name: str) -> None:
    case = CASES[name]
    image = load_image(GOLDEN / "preprocess" / case["file"])

    pixels, transform = preprocess(image, 1024)

    assert pixels.shape == (1, 3, 1024, 1024)
    assert pixels.dtype == np.float32
    assert transform.original_size == tuple(case["original_size_hw"])
    assert transform.input_size == tuple(case["resized_size_hw"])
    height, width = transform.input_size
    resized = pixels[0, :, :height, :width].transpose(1, 2, 0).astype(np.uint8)
    assert hashlib.sha256(resized.tobytes()).hexdigest() == case["resized_sha256"]
    result = normalised(pixels[0])
    assert (result[:, height:] == 0).all()
    assert (result[:, :, width:] == 0).all()
    with np.load(GOLDEN / "preprocess/arrays.npz") as arrays:
        for tile in case["tiles"]:
            y, x, size = tile["y"], tile["x"], tile["size"]
            np.testing.assert_allclose(
                result[:, y : y + size, x : x + size], arrays[tile["key"]], rtol=1e-6, atol=1e-6
            )
    assert float(result.astype(np.float64).sum()) == pytest.approx(case["tensor_sum"], rel=1e-6)
    assert float(np.abs(result.astype(np.float64)).sum()) == pytest.approx(
        case["tensor_abs_sum"], rel=1e-6
    )


def test_input_of_the_small_model() -> None:
    with np.load(GOLDEN / "sam_vit_small/outputs.npz") as expected:
        pixels, transform = preprocess(expected["image"], 256)
        height, width = transform.input_size
        np.testing.assert_array_equal(
            pixels[0, :, :height, :width].transpose(1, 2, 0), expected["resized_image_u8"]
        )
        np.testing.assert_allclose(
            normalised(pixels[0]), expected["input_tensor"][0], rtol=1e-6, atol=1e-6
        )


@pytest.mark.parametrize("size", [(1, 4000), (4000, 1), (1, 1)])
def test_extreme_shapes_keep_a_pixel(size: tuple[int, int]) -> None:
    pixels, transform = preprocess(np.full((*size, 3), 200, np.uint8), 256)
    assert min(transform.input_size) >= 1
    assert max(transform.input_size) == 256
    height, width = transform.input_size
    assert (pixels[0, :, :height, :width] == 200).all()
    assert np.count_nonzero(pixels[0, 0] == 200) == height * width
