"""Messages to pixels."""

from __future__ import annotations

import array
import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from samdeploy import InputError
from samdeploy.images import load_image
from samdeploy.robots.encodings import ENCODINGS, compressed_pixels, raw_pixels

RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
GREY = RGB[..., 0]
ALPHA = np.full((6, 8, 1), 9, np.uint8)
DEEP = np.random.default_rng(1).integers(0, 65536, (6, 8, 3), np.uint16)


@pytest.mark.parametrize(
    ("encoding", "stored", "expected"),
    [
        ("rgb8", RGB, RGB),
        ("bgr8", RGB[..., ::-1], RGB),
        ("8UC3", RGB[..., ::-1], RGB),
        ("rgba8", np.dstack([RGB, ALPHA]), RGB),
        ("bgra8", np.dstack([RGB[..., ::-1], ALPHA]), RGB),
        ("8UC4", np.dstack([RGB[..., ::-1], ALPHA]), RGB),
        ("mono8", GREY, GREY),
        ("8UC1", GREY, GREY),
        ("mono16", DEEP[..., 1], DEEP[..., 1]),
        ("16UC1", DEEP[..., 1], DEEP[..., 1]),
        ("rgb16", DEEP, DEEP),
        ("bgr16", DEEP[..., ::-1], DEEP),
        ("rgba16", np.dstack([DEEP, ALPHA]), DEEP),
        ("bgra16", np.dstack([DEEP[..., ::-1], ALPHA]), DEEP),
        ("32FC1", GREY.astype(np.float32) / 7, GREY.astype(np.float32) / 7),
    ],
)
@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("big_endian", [False, True])
def test_encodings(
    encoding: str, stored: NDArray[Any], expected: NDArray[Any], padding: int, big_endian: bool
) -> None:
    order = ">" if big_endian else "<"
    rows = np.ascontiguousarray(stored).astype(stored.dtype.newbyteorder(order))
    flat = rows.view(np.uint8).reshape(6, -1)
    step = flat.shape[1] + padding
    data = np.pad(flat, ((0, 0), (0, padding)), constant_values=77).tobytes()
    for buffer in (data, array.array("B", data), np.frombuffer(data, np.uint8)):
        pixels = raw_pixels(buffer, encoding, 6, 8, step, big_endian)
        assert pixels.dtype == expected.dtype
        assert pixels.dtype.isnative
        np.testing.assert_array_equal(pixels, expected)
    if pixels.dtype != np.float32:
        assert load_image(pixels, "rgb").shape == (6, 8, 3)


def smooth() -> NDArray[np.uint8]:
    y, x = np.mgrid[0:32, 0:32]
    return np.stack([x * 6 + 20, y * 6 + 20, 200 - x * 3], 2).astype(np.uint8)


@pytest.mark.parametrize(("encoding", "first"), [("yuv422", 1), ("uyvy", 1), ("yuyv", 0)])
def test_colours_shared_by_two_pixels(encoding: str, first: int) -> None:
    """Luma of each pixel is byte ``first`` of its two; blue and red differences alternate."""
    rgb = smooth().astype(float) / 255
    luma = rgb @ [0.299, 0.587, 0.114]
    blue = 128 + 224 * 0.5 / (1 - 0.114) * (rgb[..., 2] - luma)
    red = 128 + 224 * 0.5 / (1 - 0.299) * (rgb[..., 0] - luma)
    stored = np.zeros((32, 32, 2))
    stored[..., first] = 16 + 219 * luma
    stored[:, 0::2, 1 - first] = blue[:, 0::2]
    stored[:, 1::2, 1 - first] = red[:, 0::2]
    data = np.rint(stored).clip(0, 255).astype(np.uint8).tobytes()
    pixels = raw_pixels(data, encoding, 32, 32)
    assert np.abs(pixels.astype(int) - smooth()).max() < 9


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_mosaics(pattern: str) -> None:
    stored = np.zeros((32, 32), np.uint8)
    for index, channel in enumerate(pattern):
        row, column = divmod(index, 2)
        plane = smooth()[..., "rgb".index(channel)]
        stored[row::2, column::2] = plane[row::2, column::2]
    pixels = raw_pixels(stored.tobytes(), f"bayer_{pattern}8", 32, 32)
    inner = (slice(2, -2), slice(2, -2))
    assert np.abs(pixels[inner].astype(int) - smooth()[inner]).max() < 9


@pytest.mark.parametrize(
    ("encoding", "height", "width", "step", "why"),
    [
        ("rgb9", 6, 8, 0, "encoding 'rgb9'; expected mono8"),
        ("rgb8", 6, 8, 23, "a step of 23; expected at least 24 bytes a row, and 144 in all"),
        ("rgb8", 6, 9, 0, "144 bytes and a step of 27; expected at least 27 bytes a row, and 162"),
        ("rgb8", 0, 8, 0, "8 x 0 pixels"),
        ("bayer_rggb8", 5, 8, 0, "expected even numbers"),
    ],
)
def test_what_is_refused(encoding: str, height: int, width: int, step: int, why: str) -> None:
    with pytest.raises(InputError, match=why):
        raw_pixels(RGB.tobytes(), encoding, height, width, step)
    assert "64FC1" not in ENCODINGS


def encoded(format: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray(RGB).save(out, format)
    return out.getvalue()


@pytest.mark.parametrize("format", ["png", "rgb8; png compressed bgr8"])
def test_compressed(format: str) -> None:
    pixels = compressed_pixels(array.array("B", encoded("png")), format)
    np.testing.assert_array_equal(pixels, RGB)
    assert compressed_pixels(encoded("jpeg"), "jpeg").shape == RGB.shape


def test_compressed_ones_that_are_refused() -> None:
    with pytest.raises(InputError, match="compressedDepth png', which is no file"):
        compressed_pixels(encoded("png"), "16UC1; compressedDepth png")
    with pytest.raises(InputError, match="the compressed image cannot be read"):
        compressed_pixels(b"no picture", "jpeg")
