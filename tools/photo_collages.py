"""Cut-outs and pieces of photographs put on photographs, with exact masks."""

from __future__ import annotations

import string

import cv2
import numpy as np
from numpy.typing import NDArray
from photo_sample import UNKNOWN, Sample

from samdeploy.scenes import random_colour, silhouette, texture

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

_FONTS = (0, 1, 2, 3, 4, 6, 7)


def render_collage(
    rng: np.random.Generator,
    cutouts: list[NDArray[np.uint8]],
    photographs: list[NDArray[np.uint8]],
    side: int,
) -> Sample:
    """Some ``cutouts`` (RGBA) and shapes filled with ``photographs`` (RGB) on one of them, or on a
    plain ground; each may carry a part: something put on it, or text."""
    photo_behind = rng.random() < 0.7
    image = _ground(rng, photographs, side) if photo_behind else _plain(rng, side)
    labels = np.full((side, side), UNKNOWN if photo_behind else 0, np.uint8)
    parents = np.zeros(256, np.uint8)
    number = 0
    for _ in range(int(rng.integers(3, 14))):
        layer, alpha = _thing(rng, cutouts, photographs, side)
        inside = alpha > 0.5
        if inside.sum() < 60:
            continue
        number += 1
        parent = number
        _shadow(rng, image, alpha)
        image = image * (1 - alpha[..., None]) + layer * alpha[..., None]
        labels[inside] = parent
        if rng.random() < 0.35:
            mark, part = _mark(rng, cutouts, photographs, inside)
            hidden = part > 0.5
            if 40 <= hidden.sum() < 0.7 * inside.sum():
                number += 1
                image = image * (1 - part[..., None]) + mark * part[..., None]
                labels[hidden] = number
                parents[number] = parent
    return Sample(image.astype(np.float32), labels, parents)


def _ground(rng: np.random.Generator, photographs: list[NDArray[np.uint8]], side: int) -> Floats:
    """A random part of a random photograph, at any scale, out of focus now and then."""
    photo = photographs[int(rng.integers(len(photographs)))]
    shorter = min(photo.shape[:2])
    extent = round(float(np.exp(rng.uniform(np.log(min(200, shorter)), np.log(shorter)))))
    y, x = (int(rng.integers(0, n - extent + 1)) for n in photo.shape[:2])
    crop = photo[y : y + extent, x : x + extent]
    crop = crop[:, :: int(rng.choice([-1, 1]))]
    ground = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
    if rng.random() < 0.3:
        ground = cv2.GaussianBlur(ground, (0, 0), float(rng.uniform(1, 6)))
    return np.asarray(ground, np.float32)


def _plain(rng: np.random.Generator, side: int) -> Floats:
    return np.clip(texture(rng, side, side, random_colour(rng)), 0, 255)


def _thing(
    rng: np.random.Generator,
    cutouts: list[NDArray[np.uint8]],
    photographs: list[NDArray[np.uint8]],
    side: int,
) -> tuple[Floats, Floats]:
    """Colours ``[S, S, 3]`` and alpha ``[S, S]`` of one thing anywhere in the picture."""
    radius = side * float(np.exp(rng.uniform(np.log(0.04), np.log(0.38))))
    centre = rng.uniform(0.02, 0.98, 2) * side
    if rng.random() < 0.55:
        layer, alpha = _cutout(rng, cutouts, side, centre, radius)
        if rng.random() < 0.25:  # its shape and shading, of something else
            shade = layer.mean(2, keepdims=True) / 128
            layer = np.clip(_ground(rng, photographs, side) * (0.3 + 0.7 * shade), 0, 255)
        return layer, alpha
    shape = silhouette(rng, side, side, centre, radius)
    alpha = cv2.GaussianBlur(shape.astype(np.float32), (0, 0), float(rng.uniform(0.5, 1.2)))
    layer = _ground(rng, photographs, side) if rng.random() < 0.7 else _plain(rng, side)
    if rng.random() < 0.5:
        layer = layer * _relief(rng, shape)[..., None]
    return layer, np.asarray(alpha, np.float32)


def _cutout(
    rng: np.random.Generator,
    cutouts: list[NDArray[np.uint8]],
    side: int,
    centre: NDArray[np.float64],
    radius: float,
) -> tuple[Floats, Floats]:
    cutout = cutouts[int(rng.integers(len(cutouts)))]
    scale = 2 * radius / max(cutout.shape[:2])
    angle = float(rng.normal(0, 25)) if rng.random() < 0.8 else float(rng.uniform(0, 360))
    middle = (cutout.shape[1] / 2, cutout.shape[0] / 2)
    matrix = cv2.getRotationMatrix2D(middle, angle, scale)
    matrix[0] *= float(rng.choice([-1, 1])) * float(rng.uniform(0.75, 1.25))
    matrix[:, 2] += centre - matrix @ np.array([*middle, 1.0])
    area = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    if scale < 0.5:
        cutout = cv2.resize(cutout, None, fx=0.5, fy=0.5, interpolation=area)
        matrix[:, :2] *= 2
    warped = cv2.warpAffine(cutout, matrix, (side, side)).astype(np.float32)
    layer = warped[..., :3] / np.maximum(warped[..., 3:], 1) * 255
    cast = rng.uniform(0.6, 1.1) * (1 + rng.normal(0, 0.12, 3))
    if rng.random() < 0.5:  # emoji are more colourful than most things
        layer += (layer.mean(2, keepdims=True) - layer) * float(rng.uniform(0.2, 0.9))
    return np.clip(layer * cast, 0, 255).astype(np.float32), warped[..., 3] / 255


def _relief(rng: np.random.Generator, shape: Bools) -> Floats:
    """Brightness of ``shape`` as if it were a cushion in light from one side."""
    depth = cv2.distanceTransform(shape.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_3)
    height = np.sqrt(depth / max(1.0, float(depth.max())))
    height = cv2.GaussianBlur(height, (0, 0), 2.5)
    dy, dx = np.gradient(height)
    angle = float(rng.uniform(0, 2 * np.pi))
    slope = (np.cos(angle) * dx + np.sin(angle) * dy) * float(rng.uniform(3, 12))
    return np.clip(1 + slope, 0.25, 1.7).astype(np.float32)


def _shadow(rng: np.random.Generator, image: Floats, alpha: Floats) -> None:
    if rng.random() < 0.35:
        return
    side = len(image)
    offset = rng.normal(0, 0.025, 2) * side
    moved = cv2.warpAffine(
        alpha, np.float32([[1, 0, offset[0]], [0, 1, abs(offset[1])]]), (side, side)
    )
    soft = cv2.GaussianBlur(moved, (0, 0), float(rng.uniform(1, 9)))
    image *= (1 - float(rng.uniform(0.2, 0.65)) * soft)[..., None]


def _mark(
    rng: np.random.Generator,
    cutouts: list[NDArray[np.uint8]],
    photographs: list[NDArray[np.uint8]],
    inside: Bools,
) -> tuple[Floats, Floats]:
    """A part on the thing that covers ``inside``: text, a patch, a cut-out."""
    side = len(inside)
    ys, xs = np.nonzero(inside)
    pick = int(rng.integers(len(ys)))
    centre = np.array([xs[pick], ys[pick]], np.float64)
    extent = max(4.0, float(np.sqrt(len(ys))) * float(rng.uniform(0.12, 0.45)))
    kind = rng.random()
    if kind < 0.3:
        layer, alpha = _cutout(rng, cutouts, side, centre, extent)
    elif kind < 0.8:
        shape = silhouette(rng, side, side, centre, extent)
        alpha = cv2.GaussianBlur(shape.astype(np.float32), (0, 0), 0.6)
        layer = _ground(rng, photographs, side) if rng.random() < 0.4 else _plain(rng, side)
    else:
        canvas = np.zeros((side, side), np.uint8)
        text = "".join(rng.choice(list(string.ascii_letters + string.digits), rng.integers(1, 7)))
        size = extent / 18
        where = (int(centre[0] - extent * 0.5 * len(text)), int(centre[1] + extent * 0.4))
        thick = max(1, round(size * float(rng.uniform(1, 4))))
        cv2.putText(canvas, text, where, int(rng.choice(_FONTS)), size, 255, thick, cv2.LINE_AA)
        alpha = canvas.astype(np.float32) / 255
        layer = np.broadcast_to(random_colour(rng), (side, side, 3))
    return np.asarray(layer, np.float32), np.asarray(alpha * inside, np.float32)
