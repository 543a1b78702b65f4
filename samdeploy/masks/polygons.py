"""Outlines of masks as polygons with holes and several parts.

Vertices lie on pixel *corners*: the polygon of a single pixel (x, y) is the unit square from
(x, y) to (x + 1, y + 1), so a polygon's area equals its mask's pixel count exactly until it is
simplified, and coordinates divided by the image size stay within [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Ring = NDArray[np.float64]


@dataclass(frozen=True)
class Polygon:
    """One connected part: ``exterior`` ``[K, 2]`` and ``holes``, (x, y) rings, not closed."""

    exterior: Ring
    holes: tuple[Ring, ...] = ()

    @property
    def area(self) -> float:
        """In square pixels, holes left out."""
        return ring_area(self.exterior) - sum(ring_area(hole) for hole in self.holes)

    def bridged(self) -> Ring:
        """One ring that covers the same pixels: each hole is joined to the outline by a cut of no
        width, for formats (YOLO) that know no holes."""
        ring = self.exterior
        # From right to left, a hole's cut can cross only rings that are joined already.
        for hole in sorted(self.holes, key=lambda h: -float(h[:, 0].max())):
            ring = _bridge(ring, hole)
        return ring


def ring_area(ring: Ring) -> float:
    """Area inside a ring, whatever its direction."""
    x, y = ring[:, 0], ring[:, 1]
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def mask_to_polygons(
    mask: NDArray[np.bool_], epsilon: float = 0.0, inset: float = 0.0
) -> list[Polygon]:
    """Polygons of a mask ``[H, W]``, largest first; ``epsilon`` is the largest distance in pixels
    that simplification may move the outline (0 keeps every corner). Parts are 4-connected.

    ``inset`` moves every edge this far (below half a pixel) into the mask beforehand.
    """
    parts: list[Polygon] = []
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        np.asarray(mask, np.uint8), connectivity=4
    )
    for index in range(1, count):
        x, y, width, height = (int(value) for value in stats[index, :4])
        rings = _trace(labels[y : y + height, x : x + width] == index)
        if inset:
            rings = [_inset(ring, inset) for ring in rings]
        simplified = [_simplify(ring + np.array([x, y]), epsilon) for ring in rings]
        rings_left = [ring for ring in simplified if ring is not None]
        if not rings_left:
            continue
        rings_left.sort(key=ring_area, reverse=True)
        parts.append(Polygon(rings_left[0], tuple(rings_left[1:])))
    return sorted(parts, key=lambda polygon: -polygon.area)


def _trace(mask: NDArray[np.bool_]) -> list[Ring]:
    """Border rings of a mask along pixel edges, corners only; set pixels lie to the right."""
    padded = np.pad(mask, 1)
    following: dict[tuple[int, int], list[tuple[int, int]]] = {}

    def add(
        ys: NDArray[np.intp], xs: NDArray[np.intp], start: tuple[int, int], step: tuple[int, int]
    ) -> None:
        for y, x in zip(ys.tolist(), xs.tolist(), strict=True):
            a = (x - 1 + start[0], y - 1 + start[1])
            following.setdefault(a, []).append((a[0] + step[0], a[1] + step[1]))

    inner = padded[1:-1, 1:-1]
    top = np.nonzero(inner & ~padded[:-2, 1:-1])
    right = np.nonzero(inner & ~padded[1:-1, 2:])
    bottom = np.nonzero(inner & ~padded[2:, 1:-1])
    left = np.nonzero(inner & ~padded[1:-1, :-2])
    add(top[0] + 1, top[1] + 1, (0, 0), (1, 0))
    add(right[0] + 1, right[1] + 1, (1, 0), (0, 1))
    add(bottom[0] + 1, bottom[1] + 1, (1, 1), (-1, 0))
    add(left[0] + 1, left[1] + 1, (0, 1), (0, -1))

    rings = []
    while following:
        # Not where two pixels touch at a corner: a ring that passes there twice would end early.
        start = next(point for point, options in following.items() if len(options) == 1)
        point, direction = start, (0, 0)
        corners: list[tuple[int, int]] = []
        while True:
            options = following[point]
            # Where two pixels touch at a corner, turn right: parts are 4-connected.
            wanted = (-direction[1], direction[0])
            pick = next(
                (o for o in options if (o[0] - point[0], o[1] - point[1]) == wanted), options[0]
            )
            options.remove(pick)
            if not options:
                del following[point]
            step = (pick[0] - point[0], pick[1] - point[1])
            if step != direction:
                corners.append(point)
            point, direction = pick, step
            if point == start:
                break
        rings.append(np.array(_drop_straight(corners), np.float64))
    return rings


def _drop_straight(corners: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Drop the first corner when the ring runs straight through it."""
    (x0, y0), (x1, y1), (x2, y2) = corners[-1], corners[0], corners[1]
    straight = (x1 - x0) * (y2 - y1) == (y1 - y0) * (x2 - x1)
    return corners[1:] if straight else corners


def _inset(ring: Ring, distance: float) -> Ring:
    """Move the edges of a traced ring into the mask, which lies to their right."""
    along = np.sign(np.roll(ring, -1, axis=0) - ring)
    right = np.stack([-along[:, 1], along[:, 0]], axis=1)  # y points down
    return np.asarray(ring + distance * (right + np.roll(right, 1, axis=0)), np.float64)


def _simplify(ring: Ring, epsilon: float) -> Ring | None:
    if epsilon <= 0:
        return ring
    points = cv2.approxPolyDP(ring.astype(np.float32)[:, None], epsilon, closed=True)
    return points[:, 0].astype(np.float64) if len(points) >= 3 else None


def _bridge(ring: Ring, hole: Ring) -> Ring:
    """Join ``hole`` to ``ring`` by a horizontal cut from the hole's rightmost corner, or by one to
    the nearest corner where nothing lies to its right: simplified, a hole may reach beyond a thin
    rim."""
    start = int(hole[:, 0].argmax())
    x, y = hole[start]
    following = np.roll(ring, -1, axis=0)
    y1, y2 = ring[:, 1], following[:, 1]
    crosses = (np.minimum(y1, y2) <= y) & (y <= np.maximum(y1, y2)) & (y1 != y2)
    with np.errstate(divide="ignore", invalid="ignore"):
        at = ring[:, 0] + (y - y1) / (y2 - y1) * (following[:, 0] - ring[:, 0])
    at = np.where(crosses & (at >= x), at, np.inf)
    edge = int(at.argmin())
    hit = np.array([[at[edge], y]])
    if not np.isfinite(at[edge]):
        edge = int(((ring - hole[start]) ** 2).sum(axis=1).argmin())
        hit = ring[edge : edge + 1]
    turned = np.roll(hole, -start, axis=0)
    cut = np.concatenate([hit, turned, turned[:1], hit])
    return np.concatenate([ring[: edge + 1], cut, ring[edge + 1 :]])
