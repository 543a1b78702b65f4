"""Colours of what the rays of a camera meet: textures, a lamp with soft shadows, light of the sky
that corners keep out, and mirrored surroundings."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from embreex import rtcore_scene
from numpy.typing import NDArray
from photo_models import Model

Floats = NDArray[np.float32]

_AMBIENT_REACH = 0.5  # rooms are about 3 across


@dataclass(frozen=True)
class Placed:
    """A model in the room, and what its materials became."""

    model: Model
    corners: Floats  # [T, 3, 3]
    normals: Floats  # [T, 3, 3]
    colours: Floats  # [M, 3]
    textures: list[Floats | None]
    repeats: Floats  # [M]


class Surface:
    """Where the rays of the camera met something, ``N`` of them."""

    def __init__(
        self,
        seen: NDArray[np.int64],
        hit: dict[str, Floats],
        triangle: NDArray[np.int32],
        directions: Floats,
        origin: Floats,
    ) -> None:
        u, v = hit["u"][seen], hit["v"][seen]
        self.weights = np.stack([1 - u - v, u, v], 1)
        self.triangle = triangle
        self.directions = directions
        self.points = origin + directions * hit["tfar"][seen][:, None]
        self._seen = seen
        self._side = round(len(hit["tfar"]) ** 0.5)

    def smooth(self, values: NDArray[np.bool_]) -> Floats:
        """``values``, which came of one random ray each, averaged over the pixels around."""
        whole = np.zeros((2, self._side * self._side), np.float32)
        whole[0, self._seen] = values
        whole[1, self._seen] = 1
        sums, counts = (
            cv2.boxFilter(w.reshape(self._side, self._side), -1, (7, 7)).reshape(-1) for w in whole
        )
        return (sums[self._seen] / counts[self._seen]).astype(np.float32)


def shade(
    rng: np.random.Generator,
    scene: rtcore_scene.EmbreeScene,
    surface: Surface,
    placed: list[Placed],
    owner: NDArray[np.int64],
    first: NDArray[np.int64],
    backdrop: Floats,
) -> Floats:
    """Linear RGB ``[N, 3]`` at the points of ``surface``. Triangles of all things are numbered
    through: ``owner`` ``[T]`` says whose each is, ``first`` where each thing's begin."""
    triangle, weights = surface.triangle, surface.weights
    normal = _unit(_blend(np.concatenate([p.normals for p in placed]), triangle, weights))
    normal = np.where(_dot(normal, surface.directions)[:, None] > 0, -normal, normal)
    albedo, shine = _albedo(surface, placed, owner, first)

    count = len(triangle)
    start = surface.points + normal * np.float32(2e-3)
    light = rng.normal(0, 1, 3).astype(np.float32)
    light[1] = abs(light[1]) + 0.5
    light /= np.linalg.norm(light)
    softness = np.float32(rng.choice([0.03, 0.15, 0.4]))
    to_light = _unit(light + softness * rng.standard_normal((count, 3), np.float32))
    lit = surface.smooth(scene.run(start, to_light, query="OCCLUDED") < 0)
    bounced = _unit(normal + _unit(rng.standard_normal((count, 3), np.float32)))
    reach = np.full(count, _AMBIENT_REACH, np.float32)
    open_sky = surface.smooth(scene.run(start, bounced, reach, query="OCCLUDED") < 0)

    sun = np.maximum(_dot(normal, light), 0) * lit
    warm, sky = (1 + rng.normal(0, 0.12, (2, 3))).astype(np.float32)
    mirrored = surface.directions - 2 * _dot(normal, surface.directions)[:, None] * normal
    gloss = np.maximum(_dot(mirrored, light), 0) ** np.float32(rng.uniform(8, 60)) * lit * shine
    share = np.float32(rng.uniform(0.25, 0.8))
    diffuse = share * sun[:, None] * warm + (1 - share) * open_sky[:, None] * sky + np.float32(0.05)
    colour = albedo * diffuse + gloss[:, None] * share
    mirror = np.clip(shine * np.float32(rng.uniform(0, 0.7)), 0, 0.6)[:, None]
    return (colour * (1 - mirror) + mirror * _around(backdrop, mirrored)).astype(np.float32)


def _albedo(
    surface: Surface, placed: list[Placed], owner: NDArray[np.int64], first: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    albedo = np.zeros((len(surface.triangle), 3), np.float32)
    shine = np.zeros(len(surface.triangle), np.float32)
    of = owner[surface.triangle]
    for thing in np.unique(of):
        rows = np.flatnonzero(of == thing)
        item = placed[thing]
        local = surface.triangle[rows] - first[thing]
        material = item.model.material[local]
        albedo[rows] = item.colours[material]
        shine[rows] = item.model.shine[material]
        uv = _blend(item.model.uv, local, surface.weights[rows])
        flat = (np.ptp(item.model.uv, axis=(1, 2)) < 1e-9)[local]
        if flat.any():  # no texture coordinates: from the side
            points = surface.points[rows]
            side = points[:, :2] + points[:, 2:] * np.array([0.6, 0.4], np.float32)
            uv = np.where(flat[:, None], side, uv)
        for kind in np.unique(material):
            picture = item.textures[kind]
            if picture is None:
                continue
            mine = material == kind
            height, width = picture.shape[:2]
            scaled = uv[mine] * item.repeats[kind]
            x = (np.mod(scaled[:, 0], 1) * (width - 1)).astype(int)
            y = (np.mod(-scaled[:, 1], 1) * (height - 1)).astype(int)
            tint = item.colours[kind] if item.model.textures[kind] is None else np.float32(1)
            albedo[rows[mine]] = picture[y, x] * tint
    return albedo, shine


def _blend(at_corners: Floats, triangle: NDArray[np.int64], weights: Floats) -> Floats:
    """``[T, 3, K]`` at the points ``weights`` ``[N, 3]`` of the triangles ``[N]`` -> ``[N, K]``."""
    a, b, c = (at_corners[:, i][triangle] * weights[:, i : i + 1] for i in range(3))
    return np.asarray(a + b + c, np.float32)


def _dot(a: Floats, b: Floats) -> Floats:
    """Of vectors ``[N, 3]`` with others, or with one."""
    return np.asarray(a[:, 0] * b[..., 0] + a[:, 1] * b[..., 1] + a[:, 2] * b[..., 2], np.float32)


def _unit(vectors: Floats) -> Floats:
    return vectors / np.maximum(np.sqrt(_dot(vectors, vectors)), np.float32(1e-9))[:, None]


def _around(picture: Floats, directions: Floats) -> Floats:
    """``picture`` as if it surrounded the scene."""
    height, width = picture.shape[:2]
    x = np.arctan2(directions[:, 0], directions[:, 2]) / (2 * np.pi) + 0.5
    y = 0.5 - directions[:, 1] / 2
    return picture[
        np.clip(y * (height - 1), 0, height - 1).astype(int),
        np.clip(x * (width - 1), 0, width - 1).astype(int),
    ]
