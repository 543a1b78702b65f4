"""Masks and prompts drawn over an image."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from samdeploy.masks.lettering import measure, write
from samdeploy.masks.rle import Rle

_OPACITY = 0.5
_GOLDEN_RATIO = 0.618033988749895
_FOREGROUND, _BACKGROUND, _BOX, _WHITE = (0, 200, 83), (229, 57, 53), (255, 193, 7), (255, 255, 255)
_DARK = (38, 50, 56)


def colour(index: int) -> tuple[int, int, int]:
    """The colour of mask ``index``, RGB: neighbours in the list differ clearly."""
    hue = (0.58 + index * _GOLDEN_RATIO) % 1
    value = 1.0 - 0.2 * (index // 3 % 2)
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75 - 0.2 * (index % 2), value)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_masks(
    image: NDArray[np.uint8],
    masks: NDArray[np.bool_] | Sequence[Rle],
    *,
    points: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    boxes: ArrayLike | None = None,
    captions: Sequence[str] = (),
    colours: Sequence[int] | None = None,
) -> NDArray[np.uint8]:
    """A copy of ``image`` (RGB uint8 ``[H, W, 3]``) with ``masks`` ``[N, H, W]``, or their
    run lengths, over it.

    Larger masks are drawn first, so that small ones stay visible. ``points`` ``[..., 2]`` with
    ``labels`` are drawn as green (foreground) and red discs, ``boxes`` ``[..., 4]`` as frames,
    ``captions`` (one per mask, empty for none) at the top of the masks. ``colours`` are one number
    per mask for :func:`colour`, by default its place in the list.
    """
    out = np.array(image, np.uint8)
    rles = [mask if isinstance(mask, Rle) else Rle.encode(mask) for mask in masks]
    line = max(1, round(max(image.shape[:2]) / 500))
    for index in sorted(range(len(rles)), key=lambda i: -rles[i].area):
        x1, y1, x2, y2 = rles[index].box
        mask = rles[index].decode()[y1 : y2 + 1, x1 : x2 + 1]
        part = out[y1 : y2 + 1, x1 : x2 + 1]
        paint = np.array(colour(index if colours is None else colours[index]), np.float32)
        part[mask] = (part[mask] * (1 - _OPACITY) + paint * _OPACITY).astype(np.uint8)
        outlines, _ = cv2.findContours(
            mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(x1, y1)
        )
        edge = tuple(int(v) for v in paint * 0.35 + 255 * 0.65)
        cv2.drawContours(out, outlines, -1, edge, line, cv2.LINE_AA)
    for rle, caption in zip(rles, captions, strict=False):
        if caption and rle.area:
            _draw_caption(out, rle.box[:2], caption, line)
    if boxes is not None:
        for x1, y1, x2, y2 in np.asarray(boxes, float).reshape(-1, 4).round().astype(int).tolist():
            cv2.rectangle(out, (x1, y1), (x2, y2), _BOX, line + 1, cv2.LINE_AA)
    if points is not None:
        _draw_points(out, points, labels, radius=3 * line + 2)
    return out


def _draw_caption(image: NDArray[np.uint8], corner: tuple[int, int], text: str, line: int) -> None:
    size = 0.35 * (line + 1)
    width, height, below = measure(text, size, line)
    # Inside the picture also for a mask at its border.
    x = max(0, min(corner[0], image.shape[1] - width))
    y = max(height, min(corner[1] + height, image.shape[0] - below))
    cv2.rectangle(image, (x, y - height), (x + width, y + below), _DARK, cv2.FILLED)
    write(image, text, (x, y), size, _WHITE, line)


def _draw_points(
    image: NDArray[np.uint8], points: ArrayLike, labels: ArrayLike | None, radius: int
) -> None:
    where = np.asarray(points, float).reshape(-1, 2).round().astype(int).tolist()
    kinds = np.ones(len(where)) if labels is None else np.asarray(labels).reshape(-1)
    for (x, y), kind in zip(where, kinds, strict=True):
        fill = _FOREGROUND if kind else _BACKGROUND
        cv2.circle(image, (x, y), radius + 2, _WHITE, cv2.FILLED, cv2.LINE_AA)
        cv2.circle(image, (x, y), radius, fill, cv2.FILLED, cv2.LINE_AA)
