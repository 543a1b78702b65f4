"""Overlays."""

from __future__ import annotations

import numpy as np
import pytest

from samdeploy.masks.drawing import colour, draw_masks
from samdeploy.masks.rle import Rle


@pytest.fixture
def image() -> np.ndarray:
    return np.full((80, 100, 3), 60, np.uint8)


@pytest.fixture
def masks() -> np.ndarray:
    masks = np.zeros((2, 80, 100), bool)
    masks[0, 10:70, 10:90] = True
    masks[1, 30:50, 40:60] = True
    return masks


def test_input_is_left_alone(image: np.ndarray, masks: np.ndarray) -> None:
    before = image.copy()
    drawn = draw_masks(image, masks, points=[[5, 5]], labels=[1], boxes=[1, 1, 50, 50])
    np.testing.assert_array_equal(image, before)
    assert drawn.dtype == np.uint8
    assert drawn.shape == image.shape


def test_a_read_only_image(image: np.ndarray, masks: np.ndarray) -> None:
    image.flags.writeable = False
    draw_masks(image, masks)


def test_only_masked_pixels_change(image: np.ndarray, masks: np.ndarray) -> None:
    drawn = draw_masks(image, masks[:1])
    changed = (drawn != image).any(axis=2)
    assert changed[masks[0]].all()
    around = np.zeros((80, 100), bool)
    around[7:73, 7:93] = True
    assert not changed[~around].any()


def test_small_masks_lie_on_top(image: np.ndarray, masks: np.ndarray) -> None:
    drawn = draw_masks(image, masks)
    for order in (masks, masks[::-1]):
        inside = draw_masks(image, order)[40, 50]
        assert (inside != drawn[20, 20]).any()


def test_run_lengths_are_drawn_like_pixels(image: np.ndarray, masks: np.ndarray) -> None:
    masks[1, 79:] = True  # up to the border, and a second part
    masks = np.concatenate([masks, np.zeros((1, 80, 100), bool)])
    marks = {"captions": ["a", "b", "c"]}
    drawn = draw_masks(image, [Rle.encode(mask) for mask in masks], **marks)
    np.testing.assert_array_equal(drawn, draw_masks(image, masks, **marks))
    assert (drawn[79] != image[79]).any()


def test_no_masks(image: np.ndarray) -> None:
    np.testing.assert_array_equal(draw_masks(image, np.zeros((0, 80, 100), bool)), image)


def test_points_by_label(image: np.ndarray) -> None:
    none = np.zeros((0, 80, 100), bool)
    drawn = draw_masks(image, none, points=[[20, 20], [60, 60]], labels=[1, 0])
    assert drawn[20, 20].argmax() == 1  # green
    assert drawn[60, 60].argmax() == 0  # red


def test_neighbouring_colours_differ() -> None:
    colours = np.array([colour(index) for index in range(40)], float)
    assert colours.min() >= 0
    assert colours.max() <= 255
    assert np.linalg.norm(np.diff(colours, axis=0), axis=1).min() > 60
