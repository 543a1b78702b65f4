"""Sizes, coordinates and resampling against the official code's results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from samdeploy.geometry import (
    Transform,
    mask_to_logits,
    resize_image,
    resize_logits,
    resize_masks,
    resized_size,
)

FOLDER = Path(__file__).parent / "golden/preprocess"
GOLDEN = json.loads((FOLDER / "preprocess.json").read_text())
CASES = GOLDEN["cases"]
sides = st.integers(1, 5000)


@pytest.fixture(scope="module")
def arrays() -> Any:
    return np.load(FOLDER / "arrays.npz")


def case_transform(name: str) -> Transform:
    return Transform.fit(tuple(CASES[name]["original_size_hw"]), GOLDEN["target_length"])


@pytest.mark.parametrize(("size", "expected"), GOLDEN["shapes_hw_to_resized"])
def test_resized_size(size: list[int], expected: list[int]) -> None:
    # Where the official code rounds a side to 0, one pixel stays.
    assert resized_size(*size, 1024) == tuple(max(1, side) for side in expected)


@pytest.mark.parametrize("name", CASES)
def test_points_and_boxes_are_exact(name: str) -> None:
    transform, coords = case_transform(name), CASES[name]["coords"]
    points = transform.points_to_input(np.array(coords["input_xy"]))
    boxes = transform.boxes_to_input(np.array(coords["input_boxes"]))
    assert points.dtype == boxes.dtype == np.float64
    np.testing.assert_array_equal(points, coords["apply_coords"])
    np.testing.assert_array_equal(boxes, coords["apply_boxes"])


def along(image: NDArray[np.uint8], length: int) -> NDArray[np.uint8]:
    """Bring the first axis to ``length``: a triangle as wide as a new pixel, weights of 22 bits."""
    old = len(image)
    scale = old / length
    reach = max(scale, 1.0)
    out = np.empty((length, *image.shape[1:]), np.uint8)
    for index in range(length):
        centre = (index + 0.5) * scale
        first, end = max(int(centre - reach + 0.5), 0), min(int(centre + reach + 0.5), old)
        weights = np.maximum(1 - np.abs((np.arange(first, end) - centre + 0.5) / reach), 0)
        fixed = np.floor(weights / weights.sum() * (1 << 22) + 0.5).astype(np.int64)
        total = np.tensordot(fixed, image[first:end].astype(np.int64), 1) + (1 << 21)
        out[index] = (total >> 22).clip(0, 255)
    return out


@pytest.mark.parametrize("size", [(300, 100), (100, 300), (90, 91), (260, 128), (30, 200)])
def test_rows_are_resized_before_columns(size: tuple[int, int]) -> None:
    """Pillow 13 begins with the columns where that is less work, and rounds in between."""
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    height, width = resized_size(*size, 64)
    rows = along(image.transpose(1, 0, 2), width).transpose(1, 0, 2)
    np.testing.assert_array_equal(resize_image(image, (height, width)), along(rows, height))


@pytest.mark.parametrize("name", CASES)
def test_resized_image_is_exact(name: str) -> None:
    case = CASES[name]
    image = np.asarray(Image.open(FOLDER / case["file"]))
    expected = np.asarray(Image.open(FOLDER / (case["resized_file"] or case["file"])))
    np.testing.assert_array_equal(resize_image(image, case_transform(name).input_size), expected)


@pytest.mark.parametrize("name", CASES)
def test_logits_back_to_image_size(name: str, arrays: Any) -> None:
    transform = case_transform(name)
    low_res = arrays["postprocess/low_res_logits"][:, 0]
    height, width = transform.original_size

    logits = resize_logits(low_res, transform)
    assert logits.shape == (1, height, width)
    assert logits.dtype == np.float32
    y, x = arrays[f"{name}/sample_yx"].T
    np.testing.assert_allclose(
        logits[0, y, x], arrays[f"{name}/sample_logits"], rtol=1e-4, atol=1e-4
    )

    expected = np.unpackbits(arrays[f"{name}/mask_bits"], axis=-1, count=width).astype(bool)
    masks = resize_masks(low_res, transform)
    np.testing.assert_array_equal(masks[0], logits[0] > 0)
    # The reference interpolates with float32 coefficients and is off by up to 3e-5 here; a pixel
    # whose logit is nearer to 0 than that may fall on either side (one of 1.5 million does).
    differing = masks[0] != expected
    assert differing.sum() <= 1
    assert (np.abs(logits[0][differing]) < 3e-5).all()
    assert abs(int(masks.sum()) - CASES[name]["postprocess"]["mask_area"]) <= differing.sum()


@pytest.mark.parametrize("name", ["one_point", "box", "mask_only", "batch_boxes5"])
def test_masks_of_the_small_model(name: str) -> None:
    with np.load(FOLDER.parent / "sam_vit_small/outputs.npz") as expected:
        low_res = expected[f"{name}/low_res_logits"].reshape(-1, 64, 64)
        bits = expected[f"{name}/mask_bits"].reshape(-1, 180, 30)
        areas = expected[f"{name}/mask_area"].reshape(-1)
        upscaled = expected["one_point/upscaled_logits"][0] if name == "one_point" else None
    transform = Transform.fit((180, 240), 256)
    masks = resize_masks(low_res, transform)
    np.testing.assert_array_equal(masks, np.unpackbits(bits, axis=-1, count=240).astype(bool))
    np.testing.assert_array_equal(masks.sum(axis=(1, 2)), areas)
    if upscaled is not None:
        np.testing.assert_allclose(
            resize_logits(low_res, transform), upscaled, rtol=1e-4, atol=1e-3
        )


def test_no_logits_make_no_masks() -> None:
    transform = Transform.fit((30, 40), 64)
    assert resize_masks(np.zeros((0, 16, 16), np.float32), transform).shape == (0, 30, 40)


@given(sides, sides, st.sampled_from([64, 256, 1000, 1024]))
def test_resized_size_fills_one_side(height: int, width: int, long_side: int) -> None:
    resized = resized_size(height, width, long_side)
    assert max(resized) == long_side
    assert min(resized) >= 1
    assert (height >= width) == (resized[0] >= resized[1]) or resized[0] == resized[1]


@given(sides, sides, st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1))
def test_coordinates_come_back(height: int, width: int, shares: list[tuple[float, float]]) -> None:
    transform = Transform.fit((height, width), 1024)
    points = np.array(shares) * (width, height)
    inside = transform.points_to_input(points)
    new_height, new_width = transform.input_size
    assert (inside <= np.array([new_width, new_height]) * (1 + 1e-12)).all()
    np.testing.assert_allclose(transform.points_to_image(inside), points, rtol=1e-12)
    boxes = np.concatenate([points, points], axis=1)
    np.testing.assert_allclose(
        transform.boxes_to_image(transform.boxes_to_input(boxes)), boxes, rtol=1e-12
    )


@pytest.mark.parametrize("size", [(480, 640), (1500, 700), (100, 130), (64, 256), (256, 256)])
def test_a_mask_survives_the_way_to_logits_and_back(size: tuple[int, int]) -> None:
    height, width = size
    y, x = np.mgrid[:height, :width]
    mask = ((x - 0.4 * width) / (0.3 * width)) ** 2 + ((y - 0.6 * height) / (0.3 * height)) ** 2 < 1
    transform = Transform.fit(size, 256)

    logits = mask_to_logits(mask, transform, 64)
    assert logits.shape == (64, 64)
    assert logits.dtype == np.float32
    assert logits.min() == -8
    assert logits.max() == pytest.approx(8)
    valid_height, valid_width = (-(-side // 4) for side in transform.input_size)
    assert (logits[valid_height:] == -8).all()
    assert (logits[:, valid_width:] == -8).all()

    back = resize_masks(logits[None], transform)[0]
    assert (back & mask).sum() / (back | mask).sum() > 0.95
