"""The letterbox: where the image lies in the input, and boxes back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samdeploy.yolo.letterbox import GREY, Letterbox


@pytest.mark.parametrize(
    ("size", "resized", "top", "left"),
    [
        ((480, 640), (480, 640), 80, 0),
        ((1080, 810), (640, 480), 0, 80),
        ((100, 33), (640, 211), 0, 214),  # 429 spare columns: the odd one is on the right
        ((1, 5000), (1, 640), 319, 0),
    ],
)
def test_where_the_image_lies(
    size: tuple[int, int], resized: tuple[int, int], top: int, left: int
) -> None:
    found = Letterbox.fit(size, (640, 640))
    assert (found.resized, found.top, found.left) == (resized, top, left)
    assert found.input_size == (640, 640)


def test_only_as_large_as_the_stride_needs() -> None:
    found = Letterbox.fit((480, 640), (640, 640), stride=32)
    assert (found.input_size, found.top, found.left) == ((480, 640), 0, 0)
    found = Letterbox.fit((427, 640), (640, 640), stride=32)
    assert (found.input_size, found.top) == ((448, 640), 10)


def test_pixels() -> None:
    image = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)
    pixels = Letterbox.fit((2, 4), (4, 4)).image_to_input(image)
    assert pixels.dtype == np.float32 and pixels.shape == (1, 3, 4, 4)
    np.testing.assert_allclose(pixels[0, :, 1:3], image.transpose(2, 0, 1) / 255, atol=1e-7)
    np.testing.assert_allclose(pixels[0, :, [0, 3]], GREY / 255, atol=1e-7)


@given(st.integers(8, 900), st.integers(8, 900), st.sampled_from([None, 32]))
def test_boxes_come_back(height: int, width: int, stride: int | None) -> None:
    box = Letterbox.fit((height, width), (320, 320), stride)
    whole = np.array(
        [[box.left, box.top, box.left + box.resized[1], box.top + box.resized[0]]], np.float32
    )
    np.testing.assert_allclose(box.boxes_to_image(whole), [[0, 0, width, height]], atol=1e-3)
    everything = np.array([[0, 0, *box.input_size[::-1]]], np.float32)
    np.testing.assert_allclose(box.boxes_to_image(everything), [[0, 0, width, height]], atol=1e-3)
