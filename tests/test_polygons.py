"""Polygons cover exactly the pixels of their mask."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from samdeploy.masks.polygons import Polygon, mask_to_polygons, ring_area
from samdeploy.scenes import generate_scene

MASKS = hnp.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def fill(rings: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Even-odd rule at pixel centres."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    inside = np.zeros(shape, bool)
    for ring in rings:
        for (x1, y1), (x2, y2) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            if y1 == y2:
                continue
            crosses = (y1 <= y) != (y2 <= y)
            inside ^= crosses & (x < x1 + (y - y1) / (y2 - y1) * (x2 - x1))
    return inside


def rings_of(polygons: list[Polygon]) -> list[np.ndarray]:
    return [ring for polygon in polygons for ring in (polygon.exterior, *polygon.holes)]


@given(MASKS)
def test_area_is_the_pixel_count(mask: np.ndarray) -> None:
    assert sum(polygon.area for polygon in mask_to_polygons(mask)) == np.count_nonzero(mask)


@given(MASKS)
def test_filling_gives_the_mask_back(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(fill(rings_of(mask_to_polygons(mask)), mask.shape), mask)


@given(MASKS)
def test_bridged_rings_cover_the_same_pixels(mask: np.ndarray) -> None:
    rings = [polygon.bridged() for polygon in mask_to_polygons(mask)]
    np.testing.assert_array_equal(fill(rings, mask.shape), mask)


@given(MASKS)
def test_vertices_are_corners_of_the_outline_only(mask: np.ndarray) -> None:
    for ring in rings_of(mask_to_polygons(mask)):
        before, after = np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0)
        cross = np.cross(
            np.pad(ring - before, ((0, 0), (0, 1))), np.pad(after - ring, ((0, 0), (0, 1)))
        )[:, 2]
        assert (cross != 0).all()


@given(MASKS)
def test_inset_edges_enclose_the_same_pixel_centres(mask: np.ndarray) -> None:
    polygons = mask_to_polygons(mask, inset=0.05)
    np.testing.assert_array_equal(fill(rings_of(polygons), mask.shape), mask)
    corners = np.concatenate([*rings_of(polygons), np.full((1, 2), 0.05)])
    away = np.abs(corners - corners.round())
    np.testing.assert_allclose(away, 0.05, atol=1e-9)


def test_holes_and_parts() -> None:
    mask = np.zeros((20, 30), bool)
    mask[2:12, 2:12] = True
    mask[5:8, 5:8] = False
    mask[6, 6] = True  # an island in the hole is a part of its own
    mask[15:18, 20:28] = True
    polygons = mask_to_polygons(mask)
    assert [polygon.area for polygon in polygons] == [100 - 9, 24, 1]
    assert [len(polygon.holes) for polygon in polygons] == [1, 0, 0]
    assert sorted(map(tuple, polygons[1].exterior)) == [(20, 15), (20, 18), (28, 15), (28, 18)]


def test_diagonal_pixels_are_two_parts() -> None:
    assert len(mask_to_polygons(np.eye(2, dtype=bool))) == 2


def test_an_empty_mask_has_no_polygon() -> None:
    assert mask_to_polygons(np.zeros((4, 4), bool)) == []


def test_simplification_stays_close() -> None:
    for mask in generate_scene(0).masks:
        exact, simple = mask_to_polygons(mask), mask_to_polygons(mask, epsilon=1.0)
        assert sum(len(r) for r in rings_of(simple)) < 0.7 * sum(len(r) for r in rings_of(exact))
        again = fill(rings_of(simple), mask.shape)
        union = np.count_nonzero(again | mask)
        if mask.sum() > 1000:
            assert np.count_nonzero(again & mask) / union > 0.9


def test_ring_area_ignores_direction() -> None:
    square = np.array([[0, 0], [2, 0], [2, 2], [0, 2]], float)
    assert ring_area(square) == ring_area(square[::-1]) == 4


def test_a_hole_that_reaches_beyond_its_simplified_outline() -> None:
    """It reached into a bump of the outline, which is cut off."""
    mask = np.zeros((20, 12), bool)
    mask[:, :10] = mask[8:12, 10:] = True
    mask[2:18, 2:8] = mask[9:11, 8:11] = False
    (polygon,) = mask_to_polygons(mask, epsilon=2.5)
    (hole,) = polygon.holes
    assert hole[:, 0].max() > polygon.exterior[:, 0].max()
    ring = polygon.bridged()
    corners = np.concatenate([polygon.exterior, hole])
    assert set(map(tuple, ring.tolist())) == set(map(tuple, corners.tolist()))
    assert ring_area(ring) == polygon.area  # the cut has no width


@pytest.mark.parametrize("holes", [2, 3])
def test_several_holes_are_bridged(holes: int) -> None:
    mask = np.ones((9, 4 * holes + 1), bool)
    for index in range(holes):
        mask[2:6, 4 * index + 1 : 4 * index + 3] = False
    (polygon,) = mask_to_polygons(mask)
    assert len(polygon.holes) == holes
    ring = polygon.bridged()
    assert ring_area(ring) == mask.sum()
    np.testing.assert_array_equal(fill([ring], mask.shape), mask)
