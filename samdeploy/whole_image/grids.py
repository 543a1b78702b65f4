"""Where whole-image mode looks: crops of the image and the grid of points in each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from samdeploy.whole_image.settings import WholeImageSettings


@dataclass(frozen=True)
class Crop:
    """A part of the image: ``box`` x1 y1 x2 y2 (exclusive end) and ``points`` ``[N, 2]`` in its
    own pixels."""

    box: tuple[int, int, int, int]
    points: NDArray[np.float64]


def point_grid(side: int) -> NDArray[np.float64]:
    """``[side², 2]`` cell centres of the unit square, row by row, (x, y)."""
    half = 1 / (2 * side)
    centres = np.linspace(half, 1 - half, side)
    x, y = np.meshgrid(centres, centres)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def crop_boxes(
    size: tuple[int, int], layers: int, overlap_ratio: float
) -> list[tuple[tuple[int, int, int, int], int]]:
    """Boxes and their layer: the whole image, then per layer ``i`` a ``2^i x 2^i`` tiling.

    Neighbours overlap by ``overlap_ratio`` of the shorter side, scaled down with the crops.
    """
    height, width = size
    boxes = [((0, 0, width, height), 0)]
    for layer in range(1, layers + 1):
        count = 2**layer
        overlap = int(overlap_ratio * min(height, width) * (2 / count))
        crop_width, crop_height = (
            math.ceil((overlap * (count - 1) + length) / count) for length in (width, height)
        )
        lefts = [(crop_width - overlap) * i for i in range(count)]
        tops = [(crop_height - overlap) * i for i in range(count)]
        boxes += [
            ((x, y, min(x + crop_width, width), min(y + crop_height, height)), layer)
            for x, y in product(lefts, tops)
        ]
    return boxes


def make_crops(size: tuple[int, int], settings: WholeImageSettings) -> list[Crop]:
    """The crops of an image of ``size`` (height, width) with their grids."""
    crops = []
    for box, layer in crop_boxes(size, settings.crop_n_layers, settings.crop_overlap_ratio):
        if settings.point_grids is not None:
            grid = np.asarray(settings.point_grids[layer], np.float64)
        else:
            grid = point_grid(settings.points_along(layer))
        x1, y1, x2, y2 = box
        if x2 > x1 and y2 > y1:  # an image of few pixels has tiles without any
            crops.append(Crop(box, grid * (x2 - x1, y2 - y1)))
    return crops
