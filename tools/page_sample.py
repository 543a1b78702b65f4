"""Draws the picture that the page for browsers opens with: shapes cut of paper, on a table.

Usage: python tools/page_sample.py runtimes/web/page/public/sample.jpg
"""

from __future__ import annotations

import sys
from collections.abc import Callable
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
Outline = NDArray[np.float64]
#: Share of the second colour at every pixel, from coordinates in pixels around the centre.
Pattern = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]

CREAM, GOLD, CORAL, ROSE = (246, 238, 222), (240, 180, 60), (222, 88, 72), (234, 122, 98)
TEAL, MINT, NAVY, BLUE = (42, 130, 126), (120, 182, 142), (38, 62, 104), (56, 86, 136)
PLUM, LILAC, SKY, INK = (118, 60, 110), (142, 84, 134), (84, 148, 204), (52, 50, 56)


def draw() -> NDArray[np.uint8]:
    """The picture, uint8 ``[HEIGHT, WIDTH, 3]`` RGB."""
    canvas = _table()
    _cut(canvas, (205, 220), _circle(126), CORAL, ROSE, _stripes(46, 0.5))
    _cut(canvas, (545, 195), _star(5, 146, 0.56, 0.3), GOLD)
    _cut(canvas, (890, 225), _blob(150, ((2, 0.16, 0.4), (3, 0.1, 1.9), (5, 0.05, 0.2))), TEAL)
    _cut(canvas, (345, 560), _rectangle(165, 100, -0.24), NAVY, BLUE, _stripes(64, -0.24))
    _cut(canvas, (705, 555), _blob(140, ((2, 0.12, 2.2), (3, 0.12, 0.6))), PLUM, LILAC, _dots(58))
    _cut(canvas, (1020, 575), _star(8, 124, 0.8, 0.1), MINT)
    _cut(canvas, (90, 690), _blob(60, ((2, 0.2, 0.9), (3, 0.1, 0.3))), CREAM)
    _cut(canvas, (500, 425), _circle(40), INK)
    _cut(canvas, (1125, 90), _circle(46), SKY)
    small = cv2.resize(canvas, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    noise = np.random.Generator(np.random.PCG64(1)).normal(0, 2, small.shape)
    return np.clip(small + noise, 0, 255).astype(np.uint8)


def _table() -> Canvas:
    """Warm grey, lighter towards the upper left, where the lamp is."""
    y, x = np.mgrid[0 : HEIGHT * FINE, 0 : WIDTH * FINE].astype(np.float32) / FINE
    light = 1.02 - 0.05 * np.hypot(x - 200, y - 100)[..., None] / WIDTH
    return np.asarray(np.array((204, 192, 178), np.float32) * light, np.float32)


def _cut(
    canvas: Canvas,
    centre: tuple[float, float],
    outline: Outline,
    colour: Colour,
    second: Colour | None = None,
    pattern: Pattern | None = None,
) -> None:
    """Lay a piece of paper on ``canvas``, with its shadow."""
    mask = _fill(outline + centre)
    shadow = cv2.GaussianBlur(_fill(outline + centre + (5, 8)), (0, 0), 7 * FINE)
    canvas *= 1 - 0.3 * shadow[..., None]
    y, x = np.mgrid[0 : HEIGHT * FINE, 0 : WIDTH * FINE].astype(np.float32) / FINE
    paper = np.broadcast_to(np.asarray(colour, np.float32), canvas.shape)
    if second is not None and pattern is not None:
        share = pattern(x - centre[0], y - centre[1])[..., None]
        paper = paper * (1 - share) + np.asarray(second, np.float32) * share
    lit = 1.05 - 0.1 * ((y - centre[1]) + (x - centre[0]))[..., None] / 300
    canvas[:] = canvas * (1 - mask[..., None]) + paper * lit * mask[..., None]


def _fill(outline: Outline) -> Mask:
    mask = np.zeros((HEIGHT * FINE, WIDTH * FINE), np.uint8)
    corners = np.round(outline * FINE * 16).astype(np.int32)
    cv2.fillPoly(mask, [corners], 255, cv2.LINE_AA, 4)
    return mask.astype(np.float32) / 255


def _polar(radii: NDArray[np.float64], angles: NDArray[np.float64]) -> Outline:
    return np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, None]


def _circle(radius: float) -> Outline:
    return _blob(radius, ())


def _blob(radius: float, waves: tuple[tuple[int, float, float], ...]) -> Outline:
    """Round, with ``waves`` of (number around, height, phase)."""
    angles = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    swing = sum((high * np.cos(n * angles + phase) for n, high, phase in waves), np.zeros(180))
    return _polar(radius * (1 + swing), angles)


def _star(points: int, radius: float, inner: float, turn: float) -> Outline:
    angles = np.linspace(0, 2 * np.pi, 2 * points, endpoint=False) + turn
    return _polar(radius * np.where(np.arange(2 * points) % 2, inner, 1.0), angles)


def _rectangle(half_width: float, half_height: float, turn: float) -> Outline:
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (half_width, half_height)
    c, s = np.cos(turn), np.sin(turn)
    return np.asarray(corners @ np.array([[c, s], [-s, c]]), np.float64)


def _stripes(period: float, turn: float) -> Pattern:
    return lambda x, y: (np.sin((x * np.cos(turn) + y * np.sin(turn)) * 2 * np.pi / period) > 0) * 1


def _dots(period: float) -> Pattern:
    def share(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
        near = np.hypot((x % period) - period / 2, (y % period) - period / 2)
        return (near < period * 0.22).astype(np.float32)

    return share


if __name__ == "__main__":
    Image.fromarray(draw()).save(Path(sys.argv[1]), quality=85, optimize=True)
