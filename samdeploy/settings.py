"""Settings of whole-image mode, under Ultralytics' names; Meta's are accepted as well."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from numpy.typing import ArrayLike

from samdeploy.errors import InputError

_ALIASES = {
    "points_per_side": "points_stride",
    "points_per_batch": "points_batch_size",
    "pred_iou_thresh": "conf_thres",
    "conf": "conf_thres",
    "box_nms_thresh": "nms_thresh",
    "crop_n_points_downscale_factor": "crop_downscale_factor",
}


@dataclass(frozen=True)
class WholeImageSettings:
    """Meta's defaults.

    Attributes:
        points_stride: grid points along one side of the image.
        points_batch_size: prompts in one decoder call.
        conf_thres: smallest predicted IoU, exclusive; 0 keeps all.
        stability_score_thresh: smallest stability score, inclusive; 0 keeps all.
        stability_score_offset: shift of the threshold for the stability score, in logits.
        nms_thresh: boxes of one crop that overlap more than this IoU are duplicates.
        crop_n_layers: layers of crops; layer ``i`` has ``4^i``.
        crop_nms_thresh: the same between crops.
        crop_overlap_ratio: overlap of neighbouring crops, as a share of the shorter side.
        crop_downscale_factor: points along a side are divided by this for every layer.
        min_mask_region_area: holes and islands below this many pixels are removed; 0 keeps all.
        point_grids: own grids, one ``[N, 2]`` in [0, 1] per layer, instead of ``points_stride``.
    """

    points_stride: int = 32
    points_batch_size: int = 64
    conf_thres: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_downscale_factor: int = 1
    min_mask_region_area: int = 0
    point_grids: Sequence[ArrayLike] | None = None

    def __post_init__(self) -> None:
        for name, least in (
            ("points_stride", 1),
            ("points_batch_size", 1),
            ("crop_downscale_factor", 1),
            ("crop_n_layers", 0),
            ("min_mask_region_area", 0),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or int(value) != value or value < least:
                raise InputError(f"{name}={value!r}; expected a whole number of {least} or more.")
        for name in ("conf_thres", "stability_score_thresh", "nms_thresh", "crop_nms_thresh"):
            self._check_range(name, 1.0)
        self._check_range("crop_overlap_ratio", 0.99)
        self._check_range("stability_score_offset", math.inf)
        if self.point_grids is not None and len(self.point_grids) != self.crop_n_layers + 1:
            raise InputError(
                f"{len(self.point_grids)} point_grids for crop_n_layers={self.crop_n_layers}; "
                "expected one for the image and one per layer."
            )

    def _check_range(self, name: str, most: float) -> None:
        value = getattr(self, name)
        if not isinstance(value, (int, float)) or not 0 <= value <= most or math.isinf(value):
            raise InputError(f"{name}={value!r}; expected a number from 0 to {most:g}.")

    @classmethod
    def from_names(cls, values: Mapping[str, Any]) -> WholeImageSettings:
        """Settings from Ultralytics' or Meta's names.

        Raises:
            InputError: an unknown name, or a value out of range.
        """
        known = {field.name for field in fields(cls)}
        chosen: dict[str, Any] = {}
        for name, value in values.items():
            target = _ALIASES.get(name, name)
            if target not in known:
                close = difflib.get_close_matches(name, [*known, *_ALIASES], 1)
                hint = f"did you mean '{close[0]}'?" if close else f"known: {sorted(known)}."
                raise InputError(f"unknown setting '{name}'; {hint}")
            if target in chosen:
                raise InputError(f"'{name}' sets '{target}' a second time; give it once.")
            chosen[target] = value
        return cls(**chosen)
