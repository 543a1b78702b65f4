"""Pictures for looking over what was labelled."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samdeploy.annotation.instances import AnnotatedImage
from samdeploy.masks.drawing import colour, draw_masks
from samdeploy.masks.lettering import drawable, write

_LONGEST = 960
_TILE, _COLUMNS, _TILES = 240, 6, 48


def draw_preview(item: AnnotatedImage, names: Mapping[int, str]) -> bytes:
    """A JPEG of the image with its masks and class names, at most 960 pixels on the longer side."""
    height, width = item.size
    scale = min(1.0, _LONGEST / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    base = np.asarray(cv2.resize(item.image, size, interpolation=cv2.INTER_AREA), np.uint8)
    masks = np.zeros((len(item.instances), size[1], size[0]), bool)
    for target, one in zip(masks, item.instances, strict=True):
        pixels = one.rle.decode().view(np.uint8)
        target[:] = cv2.resize(pixels, size, interpolation=cv2.INTER_NEAREST)
    picture = draw_masks(base, masks)
    for index, one in enumerate(item.instances):
        x, y = (round(value * scale) for value in one.rle.box[:2])
        number = f"class{one.class_id}"
        word = drawable(names.get(one.class_id, number), number)
        write(picture, word, (x, max(12, y)), 0.45, colour(index), 1, edge=(0, 0, 0))
    return _jpeg(picture)


def draw_contact_sheet(previews: Sequence[Path]) -> bytes:
    """A JPEG of up to 48 previews, spread evenly over all."""
    count = min(len(previews), _TILES)
    chosen = [previews[i * len(previews) // count] for i in range(count)]
    rows = -(-count // _COLUMNS)
    sheet = Image.new("RGB", (_TILE * min(count, _COLUMNS), _TILE * rows), "white")
    for index, path in enumerate(chosen):
        with Image.open(path) as preview:
            preview.thumbnail((_TILE - 6, _TILE - 6))
            left, top = index % _COLUMNS * _TILE, index // _COLUMNS * _TILE
            corner = left + (_TILE - preview.width) // 2, top + (_TILE - preview.height) // 2
            sheet.paste(preview, corner)
    return _jpeg(np.asarray(sheet))


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=85)
    return out.getvalue()
