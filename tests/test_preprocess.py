"""The encoder input: resized, padded with the pixel mean, not normalised."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from samdeploy.constants import PIXEL_MEAN, PIXEL_STD
from samdeploy.errors import InputError
from samdeploy.geometry import interpolation_matrix, resize_masks
from samdeploy.images import load_image
from samdeploy.preprocess import (
    MEDSAM_STEPS,
    SAM2_STEPS,
    SAM_STEPS,
    Preprocess,
    chosen_preprocess,
    preprocess,
)
from samdeploy.resampling import RESAMPLINGS

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


class TestSam2:
    STORED = json.loads((GOLDEN / "sam2/preprocess/preprocess.json").read_text())

    @pytest.mark.parametrize("name", STORED["cases"])
    def test_input(self, name: str) -> None:
        case = self.STORED["cases"][name]
        image = load_image(GOLDEN / "sam2" / "preprocess" / case["file"])
        pixels, transform = preprocess(image, 1024, SAM2_STEPS)
        assert transform.input_size == (1024, 1024)
        result = normalised(pixels[0])
        with np.load(GOLDEN / "sam2" / "preprocess" / "arrays.npz") as arrays:
            for tile in case["tiles"]:
                y, x, size = tile["y"], tile["x"], tile["size"]
                found = result[:, y : y + size, x : x + size]
                np.testing.assert_allclose(
                    found, arrays[tile["key"]].reshape(found.shape), atol=1e-5
                )

    @pytest.mark.parametrize("name", STORED["cases"])
    def test_points_and_boxes(self, name: str) -> None:
        case = self.STORED["cases"][name]
        transform = SAM2_STEPS.transform(tuple(case["original_size_hw"]), 1024)
        coords = case["coords"]
        found = transform.points_to_input(np.array(coords["input_xy"]))
        np.testing.assert_allclose(found, coords["transform_coords_f32"], rtol=1e-6)

    @pytest.mark.parametrize("name", STORED["cases"])
    def test_masks(self, name: str) -> None:
        case = self.STORED["cases"][name]
        height, width = case["original_size_hw"]
        transform = SAM2_STEPS.transform((height, width), 1024)
        with np.load(GOLDEN / "sam2" / "preprocess" / "arrays.npz") as arrays:
            logits = arrays["postprocess/low_res_logits"].reshape(1, 256, 256)
            bits = arrays[f"{name}/mask_bits"]
        expected = np.unpackbits(bits, axis=-1, count=width).astype(bool).reshape(height, width)
        assert (resize_masks(logits, transform)[0] != expected).sum() <= 6

    def test_logits_go_to_the_image_in_one_step(self) -> None:
        logits = np.random.default_rng(0).normal(size=(3, 64, 64)).astype(np.float32)
        transform = SAM2_STEPS.transform((90, 130), 256)
        rows, columns = interpolation_matrix(64, 90), interpolation_matrix(64, 130)
        expected = rows @ logits @ columns.T
        found = resize_masks(logits, transform)
        assert (found == (expected > 0))[np.abs(expected) > 1e-5].all()
        again = transform.logits_to_image()
        np.testing.assert_array_equal(again[0], rows)
        np.testing.assert_array_equal(again[1], columns)


class TestMedSam:
    @pytest.fixture
    def dark(self, photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return (photo * 0.6).astype(np.uint8) + 20

    @pytest.mark.parametrize("side", [256, 1024])
    def test_official_steps(self, dark: NDArray[np.uint8], side: int) -> None:
        pixels, _ = preprocess(dark, side, MEDSAM_STEPS)
        with np.load(GOLDEN / "medsam" / "preprocess.npz") as stored:
            low, high = stored[f"{side}/range"].astype(float)
            sums, resized = stored[f"{side}/sums"], stored[f"{side}/resized"]
        # Inside the graph: by 255.
        np.testing.assert_allclose((pixels[0] / 255).sum((1, 2), np.float64), sums, rtol=1e-5)
        levels = pixels[0].transpose(1, 2, 0) / 255 * (high - low) + low
        part = slice(448, 512) if side == 1024 else slice(None)
        off = np.abs(levels[part, part] - resized)
        # Where a value is a whole number, the last bit decides between two.
        assert np.mean(off > 1e-3) < 2e-4 and off.max() < 1.001

    def test_shrinking(self, dark: NDArray[np.uint8]) -> None:
        with np.load(GOLDEN / "medsam" / "preprocess.npz") as stored:
            off = np.floor(RESAMPLINGS["spline"](dark, (64, 64))) - stored["64/resized"]
        assert np.mean(off != 0) < 1e-3


@pytest.mark.parametrize("name", RESAMPLINGS)
def test_every_resampling(name: str, photo: NDArray[np.uint8]) -> None:
    resample = RESAMPLINGS[name]
    for size in ((90, 64), (256, 256), (1, 1), (180, 700)):
        flat = resample(np.full((180, 240, 3), 77, np.uint8), size)
        assert flat.shape == (*size, 3) and flat.dtype == np.float32
        np.testing.assert_allclose(flat, 77, rtol=1e-5)
    assert abs(resample(photo, (90, 120)).mean() - photo.mean()) < 1
    # A picture of one pixel, or one pixel wide.
    assert resample(photo[:1, :1], (8, 8)).std(axis=(0, 1)).max() < 1e-3
    assert resample(photo[:, :1], (8, 8)).std(axis=1).max() < 1e-3


def test_min_max_of_an_even_image_is_zero() -> None:
    steps = Preprocess(scaling="min-max", pad=(1.0, 2.0, 3.0))
    pixels, _ = preprocess(np.full((4, 8, 3), 9, np.uint8), 8, steps)
    assert (pixels[0, :, :4] == 0).all()
    assert pixels[0, :, 4:, 0].tolist() == [[1] * 4, [2] * 4, [3] * 4]


@pytest.mark.parametrize("rounding", ["nearest", "down", "none"])
def test_rounding(rounding: str, photo: NDArray[np.uint8]) -> None:
    steps = chosen_preprocess({"rounding": rounding, "resampling": "area"}, SAM_STEPS)
    pixels = preprocess(photo, 128, steps)[0][0, :, :96]
    exact = RESAMPLINGS["area"](photo, (96, 128)).transpose(2, 0, 1)
    change = {"nearest": np.rint, "down": np.floor, "none": np.asarray}[rounding]
    assert np.abs(pixels - change(exact)).max() <= (1 if rounding == "nearest" else 0)
    assert (pixels == change(exact)).mean() > 0.9


class TestChoosing:
    def test_forms(self, tmp_path: Path) -> None:
        (tmp_path / "own.json").write_text('{"resize": "square"}')
        assert chosen_preprocess(None, SAM2_STEPS) is SAM2_STEPS
        assert chosen_preprocess("medsam", SAM_STEPS) is MEDSAM_STEPS
        assert chosen_preprocess(MEDSAM_STEPS.to_mapping(), SAM_STEPS) == MEDSAM_STEPS
        assert chosen_preprocess(tmp_path / "own.json", SAM_STEPS) == Preprocess(resize="square")
        assert chosen_preprocess({"std": [1, 2, 3]}, SAM2_STEPS).resize == "square"

    @pytest.mark.parametrize(
        ("given", "says"),
        [
            ("medsan", "medsam"),
            ({"resize": "squash"}, "Invalid enum value 'squash'"),
            ({"std": [0, 1, 1]}, "> 0"),
            ({"mean": [float("nan")] * 3}, "mean"),
            ({"mean": [1, 2]}, "length 3"),
            ({"colour": "BGR"}, "colour"),
            (7, "expected sam, sam2, medsam or a mapping"),
            ("missing.json", "missing.json"),
        ],
    )
    def test_what_cannot_be(self, given: Any, says: str) -> None:
        with pytest.raises(InputError, match=says):
            chosen_preprocess(given, SAM_STEPS)
