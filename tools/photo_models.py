"""Wavefront models as arrays: triangles, what each is made of, textures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

_TEXTURE_SIDE = 256
#: A vertex is shaded smoothly where the faces around it turn by less than this.
_SMOOTH_COSINE = 0.75


@dataclass(frozen=True)
class Model:
    """``T`` triangles of one object: y is up, the lowest point at 0, the centre at x = z = 0, the
    largest extent 1."""

    corners: NDArray[np.float32]  # [T, 3, 3]
    normals: NDArray[np.float32]  # [T, 3, 3], of unit length
    uv: NDArray[np.float32]  # [T, 3, 2]
    material: NDArray[np.int32]  # [T]
    colours: NDArray[np.float32]  # [M, 3], linear RGB from 0 to 1
    shine: NDArray[np.float32]  # [M]
    textures: list[NDArray[np.float32] | None]  # of each material, [H, W, 3], linear


def read_model(path: Path, most_triangles: int = 60_000) -> Model | None:
    """The model of an ``.obj`` file; ``None`` for one with too many triangles or none."""
    points: list[str] = []
    coordinates: list[str] = []
    faces: list[tuple[int, int, int, int, int, int]] = []
    of_face: list[int] = []
    names: dict[str, int] = {}
    libraries: list[str] = []
    current = names.setdefault("", 0)
    for line in path.read_text(errors="replace").splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "v":
            points.append(rest)
        elif kind == "vt":
            coordinates.append(rest)
        elif kind == "f":
            corners = [corner.split("/") for corner in rest.split()]
            v = [_index(c[0], len(points)) for c in corners]
            t = [_index(c[1], len(coordinates)) if len(c) > 1 and c[1] else -1 for c in corners]
            for i in range(1, len(corners) - 1):
                faces.append((v[0], v[i], v[i + 1], t[0], t[i], t[i + 1]))
                of_face.append(current)
            if len(faces) > most_triangles:
                return None
        elif kind == "usemtl":
            current = names.setdefault(rest.strip(), len(names))
        elif kind == "mtllib":
            libraries.append(rest.strip())
    if not faces:
        return None
    index = np.array(faces, np.int64)
    vertices = np.array([p.split()[:3] for p in points], np.float32)
    uv = np.array([c.split()[:2] for c in coordinates] or [["0", "0"]], np.float32)
    low, high = vertices[index[:, :3]].min((0, 1)), vertices[index[:, :3]].max((0, 1))
    middle = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2], np.float32)
    vertices = (vertices - middle) / max(1e-6, float((high - low).max()))
    colours, shine, textures = _materials(path.parent, libraries, names)
    return Model(
        corners=vertices[index[:, :3]],
        normals=_normals(vertices, index[:, :3]),
        uv=uv[index[:, 3:]] * (index[:, 3:] >= 0)[..., None],
        material=np.array(of_face, np.int32),
        colours=colours,
        shine=shine,
        textures=textures,
    )


def _index(text: str, count: int) -> int:
    number = int(text)
    return number - 1 if number > 0 else count + number


def _normals(vertices: NDArray[np.float32], index: NDArray[np.int64]) -> NDArray[np.float32]:
    corners = vertices[index]
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    smooth = np.zeros_like(vertices)
    for i in range(3):
        np.add.at(smooth, index[:, i], flat)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    smooth /= np.maximum(np.linalg.norm(smooth, axis=1, keepdims=True), 1e-12)
    at_corner = smooth[index]
    alike = (at_corner * flat[:, None]).sum(2, keepdims=True) > _SMOOTH_COSINE
    return np.where(alike, at_corner, flat[:, None]).astype(np.float32)


def _materials(
    folder: Path, libraries: list[str], names: dict[str, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32], list[NDArray[np.float32] | None]]:
    colours = np.full((len(names), 3), 0.6, np.float32)
    shine = np.zeros(len(names), np.float32)
    textures: list[NDArray[np.float32] | None] = [None] * len(names)
    for library in libraries:
        if not (folder / library).exists():
            continue
        current = -1
        for line in (folder / library).read_text(errors="replace").splitlines():
            kind, _, rest = line.strip().partition(" ")
            if kind == "newmtl":
                current = names.get(rest.strip(), -1)
            elif current < 0:
                continue
            elif kind == "Kd":
                colours[current] = np.clip(np.array(rest.split()[:3], np.float32), 0, 1) ** 2.2
            elif kind == "Ks":
                shine[current] = float(np.clip(np.mean([float(x) for x in rest.split()[:3]]), 0, 1))
            elif kind == "map_Kd":
                textures[current] = read_texture(folder / rest.strip().replace("\\", "/"))
    return colours, shine, textures


def read_texture(path: Path, side: int = _TEXTURE_SIDE) -> NDArray[np.float32] | None:
    """The picture at ``path`` in linear RGB, shrunk to at most ``side``."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if picture is None:
        return None
    scale = min(1.0, side / max(picture.shape[:2]))
    height, width = (max(1, round(n * scale)) for n in picture.shape[:2])
    shrunk = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return ((shrunk / np.float32(255)) ** np.float32(2.2)).astype(np.float32)
