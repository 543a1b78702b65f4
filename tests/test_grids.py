"""Crops and point grids against the official helpers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samdeploy.whole_image.grids import crop_boxes, make_crops, point_grid
from samdeploy.whole_image.settings import WholeImageSettings

HELPERS = json.loads((Path(__file__).parent / "golden/amg/helpers.json").read_text())
SETTINGS = json.loads((Path(__file__).parent / "golden/amg/settings.json").read_text())["settings"]


@pytest.mark.parametrize(("side", "expected"), HELPERS["build_point_grid"].items())
def test_point_grid(side: str, expected: list[list[float]]) -> None:
    np.testing.assert_array_equal(point_grid(int(side)), expected)


@pytest.mark.parametrize("case", HELPERS["build_all_layer_point_grids"])
def test_grid_of_every_layer(case: dict[str, Any]) -> None:
    settings = WholeImageSettings(
        points_stride=case["n_per_side"],
        crop_n_layers=case["n_layers"],
        crop_downscale_factor=case["scale"],
    )
    crops = make_crops((1000, 1000), settings)
    first_of_layer = [0, 1, 5][: case["n_layers"] + 1]
    assert [len(crops[i].points) for i in first_of_layer] == case["lengths"]


@pytest.mark.parametrize("case", HELPERS["generate_crop_boxes"])
def test_crop_boxes(case: dict[str, Any]) -> None:
    found = crop_boxes(tuple(case["size_hw"]), case["n_layers"], case["overlap_ratio"])
    assert [list(box) for box, _ in found] == case["boxes"]
    assert [layer for _, layer in found] == case["layers"]


@pytest.mark.parametrize("name", SETTINGS)
def test_crops_of_the_settings(name: str) -> None:
    given_settings = SETTINGS[name]["settings"]
    settings = WholeImageSettings.from_names(
        {key: value for key, value in given_settings.items() if value is not None}
    )
    found = [list(crop.box) for crop in make_crops((180, 240), settings)]
    assert found == SETTINGS[name]["crop_boxes_xyxy"]


def test_own_grids_are_scaled_to_the_crop() -> None:
    settings = WholeImageSettings(point_grids=[[[0.0, 0.0], [0.5, 0.25], [1.0, 1.0]]])
    (crop,) = make_crops((80, 200), settings)
    np.testing.assert_array_equal(crop.points, [[0, 0], [100, 20], [200, 80]])


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 3), st.floats(0, 0.99))
def test_crops_cover_the_image_and_hold_their_points(
    height: int, width: int, layers: int, overlap: float
) -> None:
    settings = WholeImageSettings(points_stride=2, crop_n_layers=layers, crop_overlap_ratio=overlap)
    crops = make_crops((height, width), settings)
    assert crops[0].box == (0, 0, width, height)
    covered = np.zeros((height, width), int)
    for crop in crops[1:]:
        x1, y1, x2, y2 = crop.box
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height
        assert (crop.points >= 0).all()
        assert (crop.points <= (x2 - x1, y2 - y1)).all()
        covered[y1:y2, x1:x2] += 1
    assert covered.min() >= layers
