"""Whole-image settings: defaults, both families of names, and values out of range."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from samdeploy.errors import InputError
from samdeploy.whole_image.settings import WholeImageSettings


def test_defaults_are_those_of_segment_anything() -> None:
    assert dataclasses.asdict(WholeImageSettings()) == {
        "points_stride": 32,
        "points_batch_size": 4,  # no answer depends on it
        "conf_thres": 0.88,
        "stability_score_thresh": 0.95,
        "stability_score_offset": 1.0,
        "nms_thresh": 0.7,
        "crop_n_layers": 0,
        "crop_nms_thresh": 0.7,
        "crop_overlap_ratio": 512 / 1500,
        "crop_downscale_factor": 1,
        "min_mask_region_area": 0,
        "point_grids": None,
        "exact": False,
        "multimask_output": True,
        "best_only": False,
        "use_m2m": False,
        "mode": "grid",
        "proposals": None,
    }


def test_both_families_of_names() -> None:
    by_meta = WholeImageSettings.from_names(
        {
            "points_per_side": 16,
            "points_per_batch": 8,
            "pred_iou_thresh": 0.5,
            "box_nms_thresh": 0.6,
            "crop_n_points_downscale_factor": 2,
        }
    )
    by_ultralytics = WholeImageSettings.from_names(
        {
            "points_stride": 16,
            "points_batch_size": 8,
            "conf_thres": 0.5,
            "nms_thresh": 0.6,
            "crop_downscale_factor": 2,
        }
    )
    assert by_meta == by_ultralytics
    assert WholeImageSettings.from_names({}) == WholeImageSettings()


def test_numpy_scalars() -> None:
    settings = WholeImageSettings(points_stride=np.int64(4), conf_thres=np.float32(0.5))
    assert settings == WholeImageSettings(points_stride=4, conf_thres=0.5)
    assert type(settings.points_stride) is int
    assert type(settings.conf_thres) is float
    assert WholeImageSettings(exact=np.True_).exact is True


def test_points_of_crops_are_divided() -> None:
    settings = WholeImageSettings(points_stride=20, crop_n_layers=4, crop_downscale_factor=3)
    assert [settings.points_along(layer) for layer in range(5)] == [20, 6, 2, 1, 1]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ({"point_stride": 4}, "did you mean 'points_stride'?"),
        ({"qqq": 4}, "expected one of best_only, box_nms_thresh"),
        ({"points_stride": 4, "points_per_side": 4}, "a second time"),
        ({"points_stride": 0}, "a whole number from 1 to 1,000"),
        ({"points_stride": 4.5}, "a whole number from 1 to 1,000"),
        ({"points_stride": "many"}, "a whole number from 1 to 1,000"),
        ({"points_stride": float("nan")}, "a whole number from 1 to 1,000"),
        ({"points_stride": True}, "a whole number from 1 to 1,000"),
        ({"points_stride": 100_000}, "a whole number from 1 to 1,000"),
        ({"points_stride": 10**5000}, "a whole number from 1 to 1,000"),
        ({"points_stride": 1000, "crop_n_layers": 2}, "asks at 21,000,000 points; expected at"),
        ({"points_batch_size": -1}, "a whole number from 1 to 1,024"),
        ({"points_batch_size": 10**9}, "a whole number from 1 to 1,024"),
        ({"crop_n_layers": 40}, "a whole number from 0 to 6"),
        ({"crop_downscale_factor": 10**400}, "a whole number from 1 to 1,000"),
        ({"min_mask_region_area": 10**400}, "a whole number from 0 to 1,000,000,000"),
        ({"stability_score_offset": 10**400}, "a number from 0 to 1000"),
        ({"conf_thres": 10**400}, "a number from 0 to 1"),
        ({"mode": "fast"}, "one of grid, adaptive"),
        ({"exact": 1}, "True or False"),
        ({"mode": "adaptive", "exact": True}, "drop exact"),
        ({"crop_n_layers": -1}, "a whole number from 0 to 6"),
        ({"crop_downscale_factor": 0}, "a whole number from 1 to 1,000"),
        ({"min_mask_region_area": None}, "a whole number from 0 to 1,000,000,000"),
        ({"conf_thres": 1.5}, "a number from 0 to 1"),
        ({"conf_thres": float("nan")}, "a number from 0 to 1"),
        ({"conf_thres": "0.5"}, "a number from 0 to 1"),
        ({"conf_thres": True}, "a number from 0 to 1"),
        ({"stability_score_thresh": -0.1}, "a number from 0 to 1"),
        ({"stability_score_offset": -1}, "a number from 0 to 1000"),
        ({"stability_score_offset": float("inf")}, "a number from 0 to 1000"),
        ({"crop_overlap_ratio": 1.0}, "a number from 0 to 0.99"),
        ({"point_grids": []}, "expected a list of 1"),
        ({"point_grids": [[[0.5, 0.5]]], "crop_n_layers": 1}, "expected a list of 2"),
        ({"point_grids": 3}, "expected a list of 1"),
        ({"point_grids": [[]]}, "from 0 to 1"),
        ({"point_grids": [[0.5, 0.5]]}, "from 0 to 1"),
        ({"point_grids": [[[0.5, 1.5]]]}, "from 0 to 1"),
        ({"point_grids": [[[0.5, float("nan")]]]}, "from 0 to 1"),
        ({"point_grids": [[[0.5, 0.5], [0.5]]]}, "equally long rows"),
        ({"point_grids": ["abc"]}, "equally long rows"),
    ],
)
def test_bad_values_are_one_clear_sentence(names: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as caught:
        WholeImageSettings.from_names(names)
    message = str(caught.value)
    assert says in message
    assert "\n" not in message
    assert next(iter(names)).split("_")[0] in message
