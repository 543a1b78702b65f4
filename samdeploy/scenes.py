"""Procedural scenes with exact instance masks: what the tiny model is trained and tested on.

A scene is a textured background with 4 to 12 overlapping shapes: ellipses, polygons, stars, soft
blobs, thin strokes and rings, each filled with a gradient, stripes, checks, spots or noise. The
masks are the visible parts, so they carry occlusion, holes and several pieces. Everything follows
from the seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

_MIN_VISIBLE = 100  # pixels at 256 x 256: the slivers that covering leaves are nobody's object
_MIN_CONTRAST = 55.0  # mean RGB distance between a shape and what it covers


@dataclass(frozen=True)
class Scene:
    """``image`` uint8 ``[H, W, 3]`` RGB; ``masks`` bool ``[N, H, W]``, disjoint, visible parts."""

    image: NDArray[np.uint8]
    masks: NDArray[np.bool_]


def generate_scene(seed: int, size: int | tuple[int, int] = 256) -> Scene:
    """The scene of ``seed``; ``size`` is the side, or (height, width), in pixels."""
    height, width = (size, size) if isinstance(size, int) else size
    rng = np.random.Generator(np.random.PCG64(seed))
    image = texture(rng, height, width, random_colour(rng))
    labels = np.zeros((height, width), np.int32)
    for label in range(1, int(rng.integers(4, 13)) + 1):
        shape = _shape(rng, height, width)
        area = int(shape.sum())
        if not area:
            continue
        fill = texture(rng, height, width, contrasting(rng, image[shape].mean(axis=0)))
        if rng.random() < 0.3:
            _cast_shadow(rng, image, shape)
        image[shape] = fill[shape]
        labels[shape] = label
    blurred = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 0.8)))
    noisy = blurred + rng.normal(0, rng.uniform(1, 8), image.shape)
    minimum = _MIN_VISIBLE * height * width / 256**2
    counts = np.bincount(labels.ravel())
    kept = [i for i in range(1, len(counts)) if counts[i] >= minimum]
    masks = np.stack([labels == i for i in kept]) if kept else np.zeros((0, height, width), bool)
    return Scene(np.clip(noisy, 0, 255).astype(np.uint8), masks)


def random_colour(rng: np.random.Generator) -> NDArray[np.float32]:
    """A colour ``[3]``, RGB from 0 to 255."""
    return np.asarray(rng.uniform(15, 240, 3), np.float32)


def contrasting(rng: np.random.Generator, behind: NDArray[np.float32]) -> NDArray[np.float32]:
    """A colour ``[3]`` that stands out from the colour ``behind``."""
    colour = random_colour(rng)
    for _ in range(12):
        if np.linalg.norm(colour - behind) >= _MIN_CONTRAST:
            break
        colour = random_colour(rng)
    return colour


def texture(
    rng: np.random.Generator, height: int, width: int, colour: NDArray[np.float32]
) -> NDArray[np.float32]:
    """A float32 ``[H, W, 3]`` fill around ``colour``."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    along = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
    scale = max(height, width)
    out: NDArray[np.float32] = np.tile(colour, (height, width, 1))
    slope = rng.normal(0, 40, 3).astype(np.float32)
    out += (along / scale - 0.5)[..., None] * slope
    kind = rng.choice(5, p=[0.35, 0.2, 0.12, 0.13, 0.2])
    other = rng.normal(0, 22, 3).astype(np.float32)
    if kind == 1:
        period = rng.uniform(0.02, 0.12) * scale
        out += np.sin(along * np.float32(2 * np.pi / period))[..., None] * other
    elif kind == 2:
        period = rng.uniform(0.03, 0.1) * scale
        across = -x * np.float32(np.sin(angle)) + y * np.float32(np.cos(angle))
        checks = np.sign(np.sin(along * (np.pi / period)) * np.sin(across * (np.pi / period)))
        out += checks[..., None].astype(np.float32) * other
    elif kind == 3:
        spots = rng.random((max(2, height // 12), max(2, width // 12))) < 0.3
        field = cv2.resize(spots.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        out += (field > 0.5)[..., None] * other
    elif kind == 4:
        cells = int(rng.integers(4, 40))
        noise = rng.normal(0, 14, (cells, cells, 3)).astype(np.float32)
        smooth = cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
        out = np.asarray(out + smooth, np.float32)
    return out


def _cast_shadow(
    rng: np.random.Generator, image: NDArray[np.float32], shape: NDArray[np.bool_]
) -> None:
    dx, dy = rng.integers(-4, 5, 2)
    moved = np.roll(shape, (int(dy), int(dx)), (0, 1)).astype(np.float32)
    soft = cv2.GaussianBlur(moved, (0, 0), 2.5)
    image *= (1 - 0.45 * soft)[..., None]


def _shape(rng: np.random.Generator, height: int, width: int) -> NDArray[np.bool_]:
    """A random silhouette as a bool mask."""
    side = min(height, width)
    centre = rng.uniform((0.03 * width, 0.03 * height), (0.97 * width, 0.97 * height))
    # One shape in seven is small, the rest are spread evenly over the orders of size.
    least, most = (0.025, 0.055) if rng.random() < 1 / 7 else (0.055, 0.3)
    radius = side * float(np.exp(rng.uniform(np.log(least), np.log(most))))
    return silhouette(rng, height, width, centre, radius)


def silhouette(
    rng: np.random.Generator, height: int, width: int, centre: NDArray[np.float64], radius: float
) -> NDArray[np.bool_]:
    """A random shape as a mask ``[height, width]``; ``centre`` (x, y) and ``radius``, about half
    its extent, are in pixels."""
    kind = rng.choice(7, p=[0.2, 0.16, 0.16, 0.1, 0.16, 0.1, 0.12])
    mask = np.zeros((height, width), np.uint8)
    if kind == 0:
        _fill(mask, _ellipse(rng, centre, radius))
    elif kind == 1:
        _fill(mask, _rectangle(rng, centre, radius))
    elif kind == 2:
        _fill(mask, _polygon(rng, centre, radius))
    elif kind == 3:
        _fill(mask, _star(rng, centre, radius))
    elif kind == 4:
        _fill(mask, _blob(rng, centre, radius))
    elif kind == 5:
        _stroke(rng, mask, centre, radius)
    else:
        outline = (
            _ellipse(rng, centre, radius) if rng.random() < 0.6 else _blob(rng, centre, radius)
        )
        _fill(mask, outline)
        hole = centre + (outline - centre) * rng.uniform(0.35, 0.7)
        _fill(mask, hole, 0)
    return mask.astype(bool)


def _fill(mask: NDArray[np.uint8], points: NDArray[np.float64], value: int = 1) -> None:
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], value, shift=4)


def _rotate(points: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    c, s = np.cos(angle), np.sin(angle)
    return np.asarray(points @ np.array([[c, s], [-s, c]]), np.float64)


def _around(angles: NDArray[np.float64], radii: NDArray[np.float64] | float) -> NDArray[np.float64]:
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.asarray(circle * np.reshape(radii, (-1, 1)), np.float64)


def _ellipse(
    rng: np.random.Generator, centre: NDArray[np.float64], radius: float
) -> NDArray[np.float64]:
    points = _around(np.linspace(0, 2 * np.pi, 64, endpoint=False), radius)
    points[:, 1] *= rng.uniform(0.35, 1)
    return centre + _rotate(points, rng.uniform(0, np.pi))


def _rectangle(
    rng: np.random.Generator, centre: NDArray[np.float64], radius: float
) -> NDArray[np.float64]:
    half = np.array([1, rng.uniform(0.15, 1)]) * radius
    points = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
    return centre + _rotate(points, rng.uniform(0, np.pi) if rng.random() < 0.7 else 0.0)


def _polygon(
    rng: np.random.Generator, centre: NDArray[np.float64], radius: float
) -> NDArray[np.float64]:
    angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 8))))
    return centre + _around(angles, rng.uniform(0.7, 1.2, len(angles)) * radius)


def _star(
    rng: np.random.Generator, centre: NDArray[np.float64], radius: float
) -> NDArray[np.float64]:
    spikes = int(rng.integers(4, 9))
    angles = np.linspace(0, 2 * np.pi, 2 * spikes, endpoint=False) + rng.uniform(0, np.pi)
    radii = np.where(np.arange(2 * spikes) % 2, rng.uniform(0.4, 0.7), 1.15) * radius
    return centre + _around(angles, radii)


def _blob(
    rng: np.random.Generator, centre: NDArray[np.float64], radius: float
) -> NDArray[np.float64]:
    angles = np.linspace(0, 2 * np.pi, 80, endpoint=False)
    radii = np.ones_like(angles)
    for order in range(2, 6):
        radii += rng.normal(0, 0.35 / order) * np.cos(order * angles + rng.uniform(0, 2 * np.pi))
    return centre + _around(angles, np.maximum(radii, 0.25) * radius)


def _stroke(
    rng: np.random.Generator, mask: NDArray[np.uint8], centre: NDArray[np.float64], radius: float
) -> None:
    """A thin curved line, 3 % to 6 % of the image wide at most."""
    t = np.linspace(-1, 1, 24)
    points = np.stack([t * 1.8, rng.normal(0, 0.4) * t**2 + rng.normal(0, 0.3) * t**3], axis=1)
    points = centre + _rotate(points * max(radius, 0.08 * min(mask.shape)), rng.uniform(0, np.pi))
    thickness = max(2, round(float(rng.uniform(0.012, 0.04)) * min(mask.shape)))
    path = np.round(points * 16).astype(np.int32)
    cv2.polylines(mask, [path], False, 1, thickness, shift=4)
