"""Ray-traced scenes of 3D models on a floor, with exact masks of objects and their parts."""

from __future__ import annotations

import cv2
import numpy as np
from embreex import rtcore_scene
from embreex.mesh_construction import TriangleMesh
from numpy.typing import NDArray
from photo_light import Floats, Placed, Surface, shade
from photo_models import Model
from photo_sample import UNKNOWN, Sample


def render_room(
    rng: np.random.Generator,
    models: list[Model],
    textures: list[Floats],
    backdrop: Floats,
    side: int,
) -> Sample:
    """A picture of ``models`` standing about; ``backdrop`` ``[H, W, 3]`` is what lies behind and is
    mirrored, in linear RGB."""
    placed = _surroundings(rng, textures)
    fixed = len(placed)
    for model in models:
        placed.append(_place(rng, model, placed[fixed:], textures))
    scene = rtcore_scene.EmbreeScene()
    corners = np.concatenate([p.corners for p in placed])
    TriangleMesh(scene, np.ascontiguousarray(corners, np.float32))
    fine = 3 * side // 2
    origin, directions = _camera(rng, placed[fixed:], fine)
    hit = scene.run(np.tile(origin, (fine * fine, 1)), directions, output=True)
    triangle = hit["primID"]
    seen = np.flatnonzero(triangle >= 0)
    colour = _backdrop(rng, backdrop, fine)
    owner = np.repeat(np.arange(len(placed)), [len(p.corners) for p in placed])
    first = np.concatenate([[0], np.cumsum([len(p.corners) for p in placed])])
    surface = Surface(seen, hit, triangle[seen], directions[seen], origin)
    colour[seen] = shade(rng, scene, surface, placed, owner, first, backdrop)
    objects = np.full(fine * fine, -1)
    objects[seen] = owner[triangle[seen]]
    material = np.concatenate([p.model.material for p in placed])
    parts = np.full(fine * fine, -1)
    parts[seen] = material[triangle[seen]]
    image = cv2.resize(colour.reshape(fine, fine, 3), (side, side), interpolation=cv2.INTER_AREA)
    image = np.clip(image * np.float32(rng.uniform(0.75, 1.2) / max(0.25, 2 * image.mean())), 0, 1)
    at = np.arange(side) * fine // side
    pick = np.ix_(at, at)
    return Sample(
        image=(image ** np.float32(1 / 2.2) * 255).astype(np.float32),
        **_number(objects.reshape(fine, fine)[pick], parts.reshape(fine, fine)[pick]),
    )


def _number(objects: NDArray[np.int64], parts: NDArray[np.int64]) -> dict[str, NDArray[np.uint8]]:
    """Labels of parts, and the parent of each: objects of several parts get a number of theirs."""
    labels = np.full(objects.shape, UNKNOWN, np.uint8)
    parents = np.zeros(256, np.uint8)
    number = 0
    for thing in np.unique(objects[objects >= 0]):
        here = objects == thing
        kinds, counts = np.unique(parts[here], return_counts=True)
        number += 1
        whole = number
        labels[here] = whole
        if len(kinds) == 1:
            continue
        for kind, count in zip(kinds, counts, strict=True):
            if count >= 40 and number < UNKNOWN - 1:
                number += 1
                labels[here & (parts == kind)] = number
                parents[number] = whole
        if number >= UNKNOWN - 2:
            break
    return {"labels": labels, "parents": parents}


def _surroundings(rng: np.random.Generator, textures: list[Floats]) -> list[Placed]:
    """A floor, often; up to two walls behind it."""
    planes = []
    if rng.random() < 0.85:
        planes.append(_plane((-6, 0, -6), (12, 0, 0), (0, 0, 12)))
    back = -float(rng.uniform(1.2, 3))
    if rng.random() < 0.6:
        planes.append(_plane((-6, -0.01, back), (12, 0, 0), (0, 6, 0)))
    if rng.random() < 0.25:
        planes.append(_plane((back, -0.01, 6), (0, 0, -12), (0, 6, 0)))
    return [_dress(rng, plane, textures, 1.0) for plane in planes]


def _plane(
    corner: tuple[float, float, float],
    u: tuple[float, float, float],
    v: tuple[float, float, float],
) -> Model:
    a, b, c = (np.array(x, np.float32) for x in (corner, u, v))
    corners = np.array([[a, a + b, a + b + c], [a, a + b + c, a + c]], np.float32)
    normal = np.cross(c, b) / 144
    uv = np.array([[[0, 0], [1, 0], [1, 1]], [[0, 0], [1, 1], [0, 1]]], np.float32)
    return Model(
        corners=corners,
        normals=np.tile(normal / np.linalg.norm(normal), (2, 3, 1)).astype(np.float32),
        uv=uv * 8,
        material=np.zeros(2, np.int32),
        colours=np.full((1, 3), 0.5, np.float32),
        shine=np.zeros(1, np.float32),
        textures=[None],
    )


def _dress(rng: np.random.Generator, model: Model, textures: list[Floats], share: float) -> Placed:
    """``model`` with ``share`` of its materials changed to other colours and textures."""
    colours, fills = model.colours.copy(), list(model.textures)
    repeats = np.ones(len(colours), np.float32)
    for i in range(len(colours)):
        if rng.random() >= share:
            continue
        colours[i] = _colour(rng)
        fills[i] = None
        if rng.random() < 0.6:
            fills[i] = textures[int(rng.integers(len(textures)))]
            repeats[i] = float(np.exp(rng.uniform(-1.2, 1.2)))
            colours[i] = rng.uniform(0.6, 1.3, 3) if rng.random() < 0.5 else 1
    return Placed(model, model.corners, model.normals, colours, fills, repeats)


def _colour(rng: np.random.Generator) -> Floats:
    """A linear colour as things have it: often grey, brown or pale."""
    value = float(rng.uniform(0.05, 1)) ** 1.5
    saturation = float(rng.uniform(0, 1)) ** 1.7
    hue = rng.uniform(0, 1, 3)
    hue = (hue - hue.min()) / max(1e-6, hue.max() - hue.min())
    return (value * (1 - saturation * (1 - hue))).astype(np.float32)


def _place(
    rng: np.random.Generator, model: Model, others: list[Placed], textures: list[Floats]
) -> Placed:
    """``model`` turned, scaled and put on the floor or on top of one of ``others``."""
    angle = float(rng.uniform(0, 2 * np.pi))
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32)
    if rng.random() < 0.2:  # lying on its side
        turn = turn @ np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], np.float32)
    size = float(np.exp(rng.uniform(np.log(0.22), np.log(1.1))))
    corners = model.corners @ turn.T * size
    corners = corners - np.array([0, corners[..., 1].min(), 0], np.float32)
    where = rng.normal(0, 0.5, 2)
    height = 0.0
    if others and rng.random() < 0.45:
        under = others[int(rng.integers(len(others)))].corners.reshape(-1, 3)
        low, high = under.min(0), under.max(0)
        where = rng.uniform(low[[0, 2]], high[[0, 2]]) * 0.6 + (low + high)[[0, 2]] / 2 * 0.4
        near = np.hypot(under[:, 0] - where[0], under[:, 2] - where[1]) < 0.3 * size + 0.05
        height = float(under[near, 1].max()) if near.any() else 0.0
    corners = corners + np.array([where[0], height, where[1]], np.float32)
    dressed = _dress(rng, model, textures, float(rng.choice([0, 0.3, 0.8])))
    return Placed(
        model,
        corners.astype(np.float32),
        (model.normals @ turn.T).astype(np.float32),
        dressed.colours,
        dressed.textures,
        dressed.repeats,
    )


def _camera(rng: np.random.Generator, objects: list[Placed], fine: int) -> tuple[Floats, Floats]:
    """Origin ``[3]`` and unit directions ``[fine², 3]``, row by row from the top left."""
    target = objects[int(rng.integers(len(objects)))].corners.mean((0, 1))
    target = 0.6 * target + np.array([0, 0.15, 0]) + rng.normal(0, 0.12, 3)
    up = np.radians(float(rng.choice([rng.uniform(3, 35), rng.uniform(35, 80)], p=[0.7, 0.3])))
    around = float(rng.uniform(-1.1, 1.1))
    away = np.array([np.sin(around) * np.cos(up), np.sin(up), np.cos(around) * np.cos(up)])
    distance = float(np.exp(rng.uniform(np.log(0.9), np.log(2.6))))
    origin = target + away * distance
    origin[1] = max(origin[1], 0.05)
    forward = target - origin
    forward /= np.linalg.norm(forward)
    roll = rng.normal(0, 0.08)
    right = np.cross(forward, [np.sin(roll), np.cos(roll), 0])
    right /= np.linalg.norm(right)
    upward = np.cross(right, forward)
    half = np.tan(np.radians(float(rng.uniform(14, 30))))
    steps = ((np.arange(fine) + 0.5) / fine * 2 - 1) * half
    directions = forward + steps[None, :, None] * right - steps[:, None, None] * upward
    directions /= np.linalg.norm(directions, axis=2, keepdims=True)
    return origin.astype(np.float32), directions.reshape(-1, 3).astype(np.float32)


def _backdrop(rng: np.random.Generator, backdrop: Floats, fine: int) -> Floats:
    rows = np.linspace(0, backdrop.shape[0] - 1, fine).astype(int)
    columns = np.linspace(0, backdrop.shape[1] - 1, fine).astype(int)
    return backdrop[rows][:, columns].reshape(-1, 3) * np.float32(rng.uniform(0.6, 1.2))
