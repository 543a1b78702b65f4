"""What a camera does to a picture: light that falls off, colour, blur, noise, compression."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def photograph(rng: np.random.Generator, image: Floats) -> NDArray[np.uint8]:
    """``image`` float32 ``[S, S, 3]`` RGB from 0 to 255 as a camera would give it."""
    image = _light(rng, image)
    if rng.random() < 0.35:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.5, 1.6)))
    if rng.random() < 0.1:
        image = _shake(rng, image)
    if rng.random() < 0.08:
        image = np.repeat(image.mean(2, keepdims=True), 3, 2)
    if rng.random() < 0.7:
        grain = rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(1, 9))
        if rng.random() < 0.4:
            grain = cv2.GaussianBlur(grain, (0, 0), 0.7) * np.float32(1.5)
        image = image + grain
    pixels = np.clip(image, 0, 255).astype(np.uint8)
    if rng.random() < 0.6:
        quality = int(rng.integers(35, 96))
        _, packed = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        pixels = cv2.imdecode(packed, cv2.IMREAD_COLOR_RGB)
    return np.asarray(pixels, np.uint8)


def _light(rng: np.random.Generator, image: Floats) -> Floats:
    side = image.shape[0]
    if rng.random() < 0.5:
        y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j].astype(np.float32)
        slope = rng.normal(0, 0.2, 3).astype(np.float32)
        image = (
            image * (1 + slope[0] * x + slope[1] * y - abs(slope[2]) * (x * x + y * y))[..., None]
        )
    cast = 1 + rng.normal(0, 0.07, 3)
    gain = float(rng.uniform(0.7, 1.25))
    lift = float(rng.uniform(-10, 25))
    return np.asarray(image * (cast * gain) + lift, np.float32)


def _shake(rng: np.random.Generator, image: Floats) -> Floats:
    length = int(rng.integers(3, 8))
    kernel = np.zeros((length, length), np.float32)
    ends = rng.integers(0, length, 4)
    cv2.line(kernel, (int(ends[0]), 0), (int(ends[1]), length - 1), 1)
    if rng.random() < 0.5:
        kernel = np.ascontiguousarray(kernel.T)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.float32)
