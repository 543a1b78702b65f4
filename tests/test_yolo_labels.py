"""YOLO lines, read back as trainers read them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from samdeploy.errors import InputError
from samdeploy.masks.yolo_labels import mask_to_yolo_line, read_yolo_boxes
from samdeploy.scenes import generate_scene

MASKS = hnp.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def read(line: str | None, shape: tuple[int, ...]) -> tuple[int, np.ndarray]:
    """Class and mask of a line: float32 shares of the image, pixels by truncation, filled
    inclusively by the even-odd rule."""
    assert line is not None
    name, *numbers = line.split()
    assert len(numbers) >= 6
    points = np.array(numbers, np.float32).reshape(-1, 2)
    assert points.min() >= 0
    assert points.max() <= 1
    height, width = shape
    pixels = (points * np.array([width, height], np.float32)).astype(np.int32)
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [pixels], 1)
    return int(name), mask.astype(bool)


def parts_of(mask: np.ndarray) -> int:
    return int(cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[0]) - 1


@given(MASKS)
def test_one_part_is_read_pixel_for_pixel(mask: np.ndarray) -> None:
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    for part in range(1, labels.max() + 1):
        class_id, found = read(mask_to_yolo_line(labels == part, part), mask.shape)
        assert class_id == part
        np.testing.assert_array_equal(found, labels == part)


@given(MASKS)
def test_several_parts_stay_one_instance(mask: np.ndarray) -> None:
    line = mask_to_yolo_line(mask, 3)
    if not mask.any():
        assert line is None
        return
    assert line is not None
    assert "\n" not in line
    _, found = read(line, mask.shape)
    assert found[mask].all()
    # Each cut is no longer than the image's diagonal.
    assert np.count_nonzero(found & ~mask) <= (parts_of(mask) - 1) * sum(mask.shape)


def test_scenes_of_every_size() -> None:
    """Widths that six decimals do not divide: nothing is lost to rounding."""
    for seed, size in enumerate([(480, 640), (333, 517), (97, 1999)]):
        for mask in generate_scene(seed, size).masks:
            _, found = read(mask_to_yolo_line(mask, 0), size)
            assert found[mask].all()
            extra = np.count_nonzero(found & ~mask)
            assert extra == 0 if parts_of(mask) == 1 else extra <= 0.05 * mask.sum()


def test_a_ring_with_islands_in_its_hole() -> None:
    mask = np.zeros((40, 40), bool)
    mask[2:38, 2:38] = True
    mask[6:34, 6:34] = False
    mask[10:14, 10:14] = True
    mask[20:22, 30:32] = True
    _, found = read(mask_to_yolo_line(mask, 0), mask.shape)
    assert found[mask].all()
    assert 0 < np.count_nonzero(found & ~mask) <= 8  # two short cuts, not a bridge over the hole


def test_simplification_shortens_and_never_drops_a_mask() -> None:
    mask = generate_scene(0).masks[0]
    exact, simple = mask_to_yolo_line(mask, 0), mask_to_yolo_line(mask, 0, epsilon=1.5)
    assert exact is not None
    assert simple is not None
    assert len(simple) < 0.7 * len(exact)
    _, found = read(simple, mask.shape)
    assert np.count_nonzero(found & mask) / np.count_nonzero(found | mask) > 0.9
    pixel = np.zeros((9, 9), bool)
    pixel[4, 4] = True
    np.testing.assert_array_equal(read(mask_to_yolo_line(pixel, 0, 20.0), (9, 9))[1], pixel)


def test_boxes_are_read() -> None:
    text = "2 0.5 0.5 0.5 0.25\n\n0 0.25 0.25 0.5 0.5 0.75\n1 0.1 0.2 0.4 0.2 0.4 0.8\n"
    found = read_yolo_boxes(text, (100, 200), "a.txt")
    np.testing.assert_allclose(
        found.boxes, [[50, 37.5, 150, 62.5], [0, 0, 100, 50], [20, 20, 80, 80]], atol=1e-4
    )
    assert found.classes.tolist() == [2, 0, 1]
    assert found.scores.tolist() == [1, 0.75, 1]
    assert len(read_yolo_boxes("", (1, 1), "a.txt")) == 0


@given(MASKS)
def test_the_box_of_a_line_is_the_box_of_its_mask(mask: np.ndarray) -> None:
    line = mask_to_yolo_line(mask, 0)
    if line is None:
        return
    (box,) = read_yolo_boxes(line, mask.shape, "a.txt").boxes
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    expected = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    np.testing.assert_allclose(box, expected, atol=0.06)


@pytest.mark.parametrize(
    "line",
    ["0 1 2", "x 0.1 0.1 0.2 0.2", "0 10 10 5 5", "-1 0.1 0.1 0.2 0.2", "0.5 0.1 0.1 0.2 0.2",
     "0 nan 0.1 0.2 0.2", "nan 0.1 0.1 0.2 0.2", "0 0.1 0.1 0.2 0.2 0.3 0.3 0.4"],
)  # fmt: skip
def test_lines_that_are_no_label(line: str) -> None:
    with pytest.raises(InputError, match=r"'a\.txt' line 2 is"):
        read_yolo_boxes(f"0 0.5 0.5 0.1 0.1\n{line}\n", (10, 10), "a.txt")
