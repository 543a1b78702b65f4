"""Masks as the answer of our own routes."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samdeploy.masks.masks import Masks
from samdeploy.masks.polygons import Polygon
from samdeploy.serving.wire import Box, Coco, RunLengths, WireMask, WirePolygon, WithAnswer


def masks_answer(masks: Masks, asked: WithAnswer) -> list[WireMask]:
    """Every mask in the form that was asked for."""
    forms = _FORMS[asked.masks](masks, asked.simplify)
    return [
        WireMask(
            score=float(masks.scores[i]),
            box=msgspec.convert(masks.boxes[i].astype(int).tolist(), Box),
            area=int(masks.areas[i]),
            prompt=int(masks.prompt_index[i]),
            stability=None if masks.stability is None else finite(masks.stability[i]),
            **{asked.masks: form},
        )
        for i, form in enumerate(forms)
    ]


def coco_answer(masks: Masks, asked: WithAnswer) -> Coco:
    """A COCO file of the masks."""
    height, width = masks.orig_shape
    return Coco(
        [{"id": 1, "file_name": asked.file_name, "width": width, "height": height}],
        masks.to_coco(image_id=1),
        [{"id": 1, "name": asked.category}],
    )


def yolo_answer(masks: Masks, asked: WithAnswer) -> str:
    """The text of a YOLO segmentation file."""
    return "".join(f"{line}\n" for line in masks.to_yolo(0, asked.simplify))


def png_text(mask: NDArray[np.bool_]) -> str:
    """A mask ``[H, W]`` as base64 of a PNG, 255 inside and 0 elsewhere."""
    file = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")


def finite(value: Any) -> float | None:
    """A number that JSON has; the stability of an empty mask is none."""
    return float(value) if np.isfinite(value) else None


def _rle(masks: Masks, simplify: float) -> list[RunLengths]:
    return [msgspec.convert(rle, RunLengths) for rle in masks.to_rle()]


def _polygons(masks: Masks, simplify: float) -> list[list[WirePolygon]]:
    return [[_polygon(part) for part in parts] for parts in masks.to_polygons(simplify)]


def _polygon(part: Polygon) -> WirePolygon:
    return WirePolygon(part.exterior.tolist(), [hole.tolist() for hole in part.holes])


def _png(masks: Masks, simplify: float) -> list[str]:
    return [png_text(mask) for mask in masks.iter_data()]


_FORMS: Mapping[str, Callable[[Masks, float], list[Any]]] = {
    "rle": _rle,
    "polygons": _polygons,
    "png": _png,
}
