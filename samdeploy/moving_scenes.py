"""Procedural scenes in motion with exact instance masks: what tracking is measured on.

Objects as in :mod:`samdeploy.scenes` drift over a still background, each along a straight line at
its own pace, turning slowly and growing or shrinking a little. They keep their order in depth, so
they cover each other, and some leave the picture. Everything follows from the seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from samdeploy.scenes import contrasting, random_colour, silhouette, texture

#: Least and most radius, as shares of the shorter side.
_RADII = (0.06, 0.19)
#: Most that an object moves between two frames, as a share of the shorter side.
_PACE = 0.012
#: Standard deviations between two frames: degrees of turning, and the logarithm of the scale.
_TURN, _GROWTH = 1.0, 0.002


@dataclass(frozen=True)
class SceneFrame:
    """One frame with ``N`` objects, which are the same ones in the same order in every frame.

    Attributes:
        image: uint8 ``[H, W, 3]`` RGB.
        masks: bool ``[N, H, W]``, disjoint: the visible parts. Empty for an object that is covered
            or outside.
        visible: ``[N]`` from 0 to 1: visible pixels by those of the whole object, of which some may
            be covered or outside the picture.
    """

    image: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    visible: NDArray[np.float64]


@dataclass(frozen=True)
class _Moving:
    """An object on a canvas of its own, ``shape`` ``[h, w]`` and ``fill`` ``[h, w, 3]``, float32,
    its centre in the middle; where it is in the first frame, and what changes between two frames:
    ``velocity`` (x, y) in pixels, ``turn`` in degrees, ``growth`` as a factor's logarithm."""

    shape: NDArray[np.float32]
    fill: NDArray[np.float32]
    start: NDArray[np.float64]
    velocity: NDArray[np.float64]
    turn: float
    growth: float

    def at(
        self, frame: int, height: int, width: int
    ) -> tuple[NDArray[np.bool_], NDArray[np.float32], float]:
        """Mask and fill in a picture of ``height`` x ``width``, and the area of the whole object in
        pixels."""
        scale = float(np.exp(self.growth * frame))
        middle = (np.array(self.shape.shape[::-1]) - 1) / 2
        turned = cv2.getRotationMatrix2D((middle[0], middle[1]), self.turn * frame, scale)
        matrix = np.asarray(turned, np.float64)
        matrix[:, 2] += self.start + self.velocity * frame - middle
        size = (width, height)
        shape = cv2.warpAffine(self.shape, matrix, size, flags=cv2.INTER_LINEAR)
        fill = cv2.warpAffine(
            self.fill, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return shape > 0.5, np.asarray(fill, np.float32), float(self.shape.sum()) * scale**2


def moving_scene(
    seed: int, frames: int = 60, size: int | tuple[int, int] = 256
) -> Iterator[SceneFrame]:
    """The frames of ``seed``, made as they are asked for; ``size`` is the side, or (height, width),
    in pixels. The same seed with fewer frames is the beginning of it."""
    height, width = (size, size) if isinstance(size, int) else size
    rng = np.random.Generator(np.random.PCG64(seed))
    behind = texture(rng, height, width, random_colour(rng))
    objects = [_moving(rng, behind) for _ in range(int(rng.integers(4, 9)))]
    blur, noise = float(rng.uniform(0.4, 0.8)), rng.uniform(1, 8)
    for index in range(frames):
        picture = behind.copy()
        labels = np.zeros((height, width), np.int32)
        areas = []
        for label, each in enumerate(objects, 1):
            mask, fill, area = each.at(index, height, width)
            picture[mask], labels[mask] = fill[mask], label
            areas.append(area)
        masks = np.stack([labels == label for label in range(1, len(objects) + 1)])
        visible = np.minimum(masks.sum(axis=(1, 2)) / np.array(areas), 1)
        noisy = cv2.GaussianBlur(picture, (0, 0), blur) + rng.normal(0, noise, picture.shape)
        yield SceneFrame(np.clip(noisy, 0, 255).astype(np.uint8), masks, visible)


def _moving(rng: np.random.Generator, behind: NDArray[np.float32]) -> _Moving:
    """An object before the background ``behind`` ``[H, W, 3]``."""
    height, width = behind.shape[:2]
    side = min(height, width)
    radius = side * float(np.exp(rng.uniform(*np.log(_RADII))))
    canvas = 2 * int(2.2 * radius) + 1  # no silhouette is longer
    shape = silhouette(rng, canvas, canvas, np.full(2, (canvas - 1) / 2), radius)
    angle, pace = rng.uniform(0, 2 * np.pi), rng.uniform(0, _PACE) * side
    return _Moving(
        shape=shape.astype(np.float32),
        fill=texture(rng, canvas, canvas, contrasting(rng, behind.mean(axis=(0, 1)))),
        start=rng.uniform((0.1 * width, 0.1 * height), (0.9 * width, 0.9 * height)),
        velocity=pace * np.array([np.cos(angle), np.sin(angle)]),
        turn=float(rng.normal(0, _TURN)),
        growth=float(rng.normal(0, _GROWTH)),
    )
