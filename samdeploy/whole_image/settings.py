"""Settings of whole-image mode, under Ultralytics' names; Meta's are accepted as well."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from samdeploy.errors import InputError
from samdeploy.limits import number, truth, whole
from samdeploy.text import shown, suggestion

#: Least and most of every setting that counts something. Points and crops are as many as an image
#: of 100 megapixels has use for; a batch of 1,024 prompts needs tens of GB.
COUNTS = {
    "points_stride": (1, 1000),
    "points_batch_size": (1, 1024),
    "crop_n_layers": (0, 6),
    "crop_downscale_factor": (1, 1000),
    "min_mask_region_area": (0, 10**9),
}
#: The same of the others. Crops that overlap entirely would never advance.
RANGES = {
    "conf_thres": (0.0, 1.0),
    "stability_score_thresh": (0.0, 1.0),
    "stability_score_offset": (0.0, 1000.0),
    "nms_thresh": (0.0, 1.0),
    "crop_nms_thresh": (0.0, 1.0),
    "crop_overlap_ratio": (0.0, 0.99),
}
#: Grid points in the image and all its crops.
MOST_POINTS = 10**7

#: ``points_batch_size`` on a GPU, unless told otherwise: a few prompts leave most of it idle.
GPU_BATCH = 64

PROPOSALS = "proposals"
MODES = ("grid", "adaptive", PROPOSALS)
#: ``mode="proposals"`` asks at every fourth point along a side of the grid.
COARSER = 4

_ALIASES = {
    "points_per_side": "points_stride",
    "points_per_batch": "points_batch_size",
    "pred_iou_thresh": "conf_thres",
    "conf": "conf_thres",
    "box_nms_thresh": "nms_thresh",
    "iou": "nms_thresh",
    "crop_n_points_downscale_factor": "crop_downscale_factor",
}


@dataclass(frozen=True)
class WholeImageSettings:
    """Meta's defaults, but for the batch, which is sized for the memory and caches of a processor.

    Attributes:
        points_stride: grid points along one side of the image.
        points_batch_size: prompts in one decoder call; no answer depends on it. More of them take
            more memory; processors hardly gain, a model on a GPU recommends :data:`GPU_BATCH`.
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
        exact: judge stability and boxes on masks at full size, as the reference implementation
            does; by default they are judged on low-res logits, and fewer masks are made.
        multimask_output: three masks a point, for a point is ambiguous; without, the one that a
            prompt without doubt gets.
        best_only: of the three masks of a point, only that of the largest predicted IoU, as
            HQ-SAM's generator does.
        use_m2m: ask again for every mask with its logits as a prompt beside its point, as SAM 2's
            generator can: five times the decoder's work.
        mode: ``grid`` asks at every point; ``adaptive`` walks the grid coarse to fine and leaves
            out points inside confident masks found so far: fewer decoder calls, and some parts of
            objects may no longer be found; ``proposals`` asks with the boxes of ``proposals``, and
            at every fourth point along a side that none of their masks covers.
        proposals: boxes for ``mode=proposals``: a YOLO or FastSAM bundle by path, what is called
            with the RGB image and gives boxes ``[N, 4]`` in pixels, or such boxes.
    """

    points_stride: int = 32
    points_batch_size: int = 4
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
    exact: bool = False
    multimask_output: bool = True
    best_only: bool = False
    use_m2m: bool = False
    mode: str = "grid"
    proposals: str | PathLike[str] | Callable[..., Any] | ArrayLike | None = None

    def __post_init__(self) -> None:
        for name, limits in COUNTS.items():
            object.__setattr__(self, name, whole(name, getattr(self, name), *limits))
        for name, span in RANGES.items():
            object.__setattr__(self, name, number(name, getattr(self, name), *span))
        self._check_points()
        if self.point_grids is not None:
            self._check_point_grids(self.point_grids)
        for name in ("exact", "multimask_output", "best_only", "use_m2m"):
            object.__setattr__(self, name, truth(name, getattr(self, name)))
        if self.mode not in MODES:
            raise InputError(f"mode={shown(self.mode)}; expected one of {', '.join(MODES)}.")
        if self.mode != "grid" and (self.exact or self.point_grids is not None):
            raise InputError(
                f"mode={self.mode} works on low-res logits of a regular grid; drop exact and "
                "point_grids, or the mode."
            )
        if self.mode == PROPOSALS and self.crop_n_layers:
            raise InputError(
                f"crop_n_layers={self.crop_n_layers}; mode=proposals looks at the whole image "
                "alone, drop one."
            )
        if self.mode == PROPOSALS and self.proposals is None:
            raise InputError(
                "mode=proposals needs boxes; pass proposals=, such as a FastSAM bundle."
            )
        if self.mode != PROPOSALS and self.proposals is not None:
            raise InputError(f"proposals= has no use in mode={self.mode}; add mode=proposals.")

    def points_along(self, layer: int) -> int:
        """Grid points along a side of the crops of ``layer``; 0 is the whole image."""
        divisor: int = self.crop_downscale_factor**layer
        if self.mode == PROPOSALS:
            divisor *= COARSER
        return max(1, self.points_stride // divisor)

    @property
    def points(self) -> int:
        """Points that are asked at, in the image and all its crops."""
        layers = range(self.crop_n_layers + 1)
        grids = [self.points_along(layer) ** 2 for layer in layers]
        if self.point_grids is not None:
            grids = [len(np.asarray(grid)) for grid in self.point_grids]
        return sum(4**layer * count for layer, count in enumerate(grids))

    def _check_points(self) -> None:
        if self.point_grids is None and self.points > MOST_POINTS:
            raise InputError(
                f"points_stride={self.points_stride} with crop_n_layers={self.crop_n_layers} asks "
                f"at {self.points:,} points; expected at most {MOST_POINTS:,}, lower one of them "
                "or raise crop_downscale_factor."
            )

    def _check_point_grids(self, grids: Sequence[ArrayLike]) -> None:
        expected = self.crop_n_layers + 1
        if not hasattr(grids, "__len__") or len(grids) != expected:
            raise InputError(
                f"point_grids={shown(grids)}; expected a list of {expected}, one grid for the "
                "image and one per layer of crops."
            )
        for grid in grids:
            try:
                points = np.asarray(grid, np.float64)
            except (TypeError, ValueError) as error:
                raise InputError(
                    f"a point grid {shown(grid)}; expected points [x, y] in equally long rows."
                ) from error
            # Written so that not-a-number fails too.
            inside = bool(((points >= 0) & (points <= 1)).all())
            if points.ndim != 2 or points.shape[1] != 2 or not len(points) or not inside:
                raise InputError(
                    f"a point grid {shown(grid)}; expected points [x, y] from 0 to 1, as shares of "
                    "the crop's width and height."
                )

    @classmethod
    def from_names(
        cls, values: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
    ) -> WholeImageSettings:
        """Settings from Ultralytics' or Meta's names; ``defaults`` (a model's own, by the same
        names) stand where ``values`` say nothing.

        Raises:
            InputError: an unknown name, or a value out of range.
        """
        return cls(**{**cls._renamed(defaults or {}), **cls._renamed(values)})

    @classmethod
    def _renamed(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        known = {field.name for field in fields(cls)}
        chosen: dict[str, Any] = {}
        for name, value in values.items():
            target = _ALIASES.get(name, name)
            if target not in known:
                hint = suggestion(name, sorted([*known, *_ALIASES]))
                raise InputError(f"unknown setting '{name}'; {hint}")
            if target in chosen:
                raise InputError(f"'{name}' sets '{target}' a second time; give it once.")
            chosen[target] = value
        return chosen


def other_names(setting: str) -> list[str]:
    """Other names of a setting, by Meta and in Ultralytics' other functions."""
    return [name for name, target in _ALIASES.items() if target == setting]
