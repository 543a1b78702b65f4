"""Draws the picture that the page for browsers opens with: balloons above hills.

Usage: python tools/page_sample.py runtimes/web/page/public/sample.jpg
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

WIDTH, HEIGHT = 1200, 800
#: Drawn so many times as large, and made smaller at the end: edges are smooth.
FINE = 2

Colour = tuple[int, int, int]
Canvas = NDArray[np.float32]
Mask = NDArray[np.float32]


def draw() -> NDArray[np.uint8]:
    """The picture, uint8 ``[HEIGHT, WIDTH, 3]`` RGB."""
    canvas = _sky()
    _paint(canvas, _ellipse((905, 190), (62, 62)), (255, 236, 190))
    for centre, size in (((250, 130), 70), ((620, 95), 48), ((1060, 330), 60)):
        _cloud(canvas, centre, size)
    for level, swing, phase, colour in (
        (500, 46, 0.4, (150, 172, 186)),
        (572, 38, 2.2, (104, 144, 140)),
        (655, 30, 4.1, (72, 116, 92)),
    ):
        _hill(canvas, level, swing, phase, colour)
    _house(canvas, (262, 640), 74)
    for x, y, size in ((120, 690, 46), (420, 705, 38), (880, 700, 50), (1010, 716, 40)):
        _tree(canvas, (x, y), size)
    red, blue, gold = (206, 62, 52), (52, 92, 160), (238, 178, 56)
    _balloon(canvas, (430, 300), 128, (red, (246, 232, 214)))
    _balloon(canvas, (770, 400), 84, (gold, (52, 124, 128)))
    _balloon(canvas, (1010, 500), 50, (blue, (226, 130, 60)))
    small = cv2.resize(canvas, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    noise = np.random.Generator(np.random.PCG64(1)).normal(0, 2.5, small.shape)
    return np.clip(small + noise, 0, 255).astype(np.uint8)


def _sky() -> Canvas:
    top, bottom = np.array((92, 148, 206)), np.array((246, 218, 190))
    share = np.linspace(0, 1, HEIGHT * FINE)[:, None, None] ** 0.8
    rows = top * (1 - share) + bottom * share
    return np.ascontiguousarray(np.broadcast_to(rows, (HEIGHT * FINE, WIDTH * FINE, 3)), np.float32)


def _polygon(points: Sequence[tuple[float, float]] | NDArray[np.float64]) -> Mask:
    mask = np.zeros((HEIGHT * FINE, WIDTH * FINE), np.uint8)
    corners = np.round(np.asarray(points) * FINE * 16).astype(np.int32)
    cv2.fillPoly(mask, [corners], 255, cv2.LINE_AA, 4)
    return mask.astype(np.float32) / 255


def _ellipse(centre: tuple[float, float], radii: tuple[float, float]) -> Mask:
    angles = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    return _polygon(np.stack([np.cos(angles), np.sin(angles)], 1) * radii + centre)


def _paint(canvas: Canvas, mask: Mask, colour: Colour, shade: Mask | float = 1.0) -> None:
    alpha = mask[..., None]
    fill = np.asarray(colour, np.float32) * np.asarray(shade, np.float32)[..., None]
    canvas[:] = canvas * (1 - alpha) + fill * alpha


def _round_shade(centre: tuple[float, float], radius: float) -> Mask:
    """Lighter at the upper right, where the sun is."""
    y, x = np.mgrid[0 : HEIGHT * FINE, 0 : WIDTH * FINE].astype(np.float32) / FINE
    towards = (x - centre[0]) * 0.6 - (y - centre[1]) * 0.8
    return np.clip(1 + 0.28 * towards / radius, 0.6, 1.2)


def _cloud(canvas: Canvas, centre: tuple[float, float], size: float) -> None:
    x, y = centre
    puffs = ((-1.1, 0.15, 0.62), (-0.35, -0.2, 0.85), (0.5, -0.05, 0.72), (1.15, 0.2, 0.5))
    mask = np.zeros(canvas.shape[:2], np.float32)
    for dx, dy, radius in puffs:
        puff = _ellipse((x + dx * size, y + dy * size), (radius * size, radius * size * 0.7))
        mask = np.maximum(mask, puff)
    _paint(canvas, mask * 0.92, (250, 250, 250))


def _hill(canvas: Canvas, level: float, swing: float, phase: float, colour: Colour) -> None:
    x = np.linspace(0, WIDTH, 160)
    y = level + swing * np.sin(x / 210 + phase) + swing * 0.4 * np.sin(x / 83 + 2 * phase)
    line = np.stack([x, y], 1)
    y_of_pixel = np.linspace(0, HEIGHT, HEIGHT * FINE, dtype=np.float32)[:, None]
    shade = np.broadcast_to(1.08 - 0.3 * (y_of_pixel - level) / HEIGHT, canvas.shape[:2])
    _paint(canvas, _polygon([*map(tuple, line), (WIDTH, HEIGHT), (0, HEIGHT)]), colour, shade)


def _tree(canvas: Canvas, foot: tuple[float, float], size: float) -> None:
    x, y = foot
    _paint(
        canvas,
        _polygon([(x - 5, y), (x + 5, y), (x + 4, y - size * 1.1), (x - 4, y - size * 1.1)]),
        (94, 66, 48),
    )
    crown = (x, y - size * 1.6)
    _paint(canvas, _ellipse(crown, (size * 0.75, size)), (46, 92, 58), _round_shade(crown, size))


def _house(canvas: Canvas, foot: tuple[float, float], size: float) -> None:
    x, y = foot
    wall = [(x - size, y), (x + size, y), (x + size, y - size), (x - size, y - size)]
    _paint(canvas, _polygon(wall), (238, 226, 206))
    top = (x, y - size * 1.8)
    roof = [(x - size * 1.2, y - size), (x + size * 1.2, y - size), top]
    _paint(canvas, _polygon(roof), (164, 74, 58))
    door = [(x - 13, y), (x + 13, y), (x + 13, y - size * 0.6), (x - 13, y - size * 0.6)]
    _paint(canvas, _polygon(door), (98, 70, 52))
    for side in (-0.6, 0.6):
        middle = x + side * size
        pane = [(middle - 12, y - 28), (middle + 12, y - 28), (middle + 12, y - 54)]
        _paint(canvas, _polygon([*pane, (middle - 12, y - 54)]), (90, 128, 158))


def _balloon(
    canvas: Canvas, centre: tuple[float, float], radius: float, colours: tuple[Colour, Colour]
) -> None:
    x, y = centre
    angles = np.linspace(0, 2 * np.pi, 160)
    below = np.maximum(np.sin(angles) - 0.35, 0)  # where it is no ball any more
    reach, narrow = 1 + 0.34 * below**1.2, 1 - 0.5 * below
    outline = np.stack(
        [x + radius * np.cos(angles) * narrow, y + radius * np.sin(angles) * reach], 1
    )
    envelope, shade = _polygon(outline), _round_shade(centre, radius)
    basket_y = y + radius * 1.62
    for side in (-1, 1):
        top, end = (x + side * radius * 0.2, y + radius * 1.2), (x + side * radius * 0.13, basket_y)
        rope = [(top[0] - 1, top[1]), (top[0] + 1, top[1]), (end[0] + 1, end[1])]
        _paint(canvas, _polygon([*rope, (end[0] - 1, end[1])]), (84, 62, 46))
    width, height = radius * 0.19, radius * 0.24
    basket = [(x - width, basket_y), (x + width, basket_y), (x + width * 0.85, basket_y + height)]
    _paint(canvas, _polygon([*basket, (x - width * 0.85, basket_y + height)]), (128, 86, 52))
    _paint(canvas, envelope, colours[0], shade)
    for gore in (-0.62, 0.0, 0.62):
        middle = np.linspace(-1.05, 1.3, 60)
        bulge = np.sqrt(np.clip(1 - np.clip(middle, -1, 1) ** 2 * 0.8, 0, 1))
        for_side = [
            (x + radius * bulge * (gore + edge * 0.16), y + radius * middle) for edge in (-1, 1)
        ]
        left, right = (np.stack([xs, ys], 1) for xs, ys in for_side)
        stripe = _polygon(np.concatenate([left, right[::-1]]))
        _paint(canvas, stripe * envelope, colours[1], shade)


if __name__ == "__main__":
    Image.fromarray(draw()).save(Path(sys.argv[1]), quality=88, optimize=True)
