"""What the nodes send each other: Arrow arrays, and plain values beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from samdeploy.errors import InputError
from samdeploy.image_options import DEFAULT_OPTIONS, ImageOptions
from samdeploy.limits import whole
from samdeploy.robots.encodings import ENCODINGS, compressed_pixels, raw_pixels
from samdeploy.robots.messages import Diagnosis, Request, Segmented
from samdeploy.text import shown

#: One frame after the segmenter; see :class:`samdeploy.robots.messages.Segmented`. ``mask`` is
#: COCO's compressed run lengths.
RESULT = pa.struct(
    {
        "number": pa.int64(),
        "height": pa.int32(),
        "width": pa.int32(),
        "found": pa.list_(
            pa.struct(
                {
                    "id": pa.int32(),
                    "name": pa.string(),
                    "followed": pa.bool_(),
                    "box": pa.list_(pa.float32()),
                    "area": pa.int64(),
                    "score": pa.float32(),
                    "mask": pa.string(),
                }
            )
        ),
        "lost": pa.list_(pa.int32()),
        "ended": pa.list_(pa.struct({"id": pa.int32(), "why": pa.string()})),
    }
)


def image_message(pixels: NDArray[Any], encoding: str) -> tuple[pa.Array, dict[str, Any]]:
    """An image ``[H, W, ...]`` as an array of its numbers, and what tells how to read them."""
    size = {"height": pixels.shape[0], "width": pixels.shape[1]}
    return pa.array(pixels.reshape(-1)), {**size, "encoding": encoding, "primitive": "image"}


def pixels_of(
    value: pa.Array, metadata: Mapping[str, Any], options: ImageOptions = DEFAULT_OPTIONS
) -> NDArray[Any]:
    """``[H, W]`` or RGB ``[H, W, 3]`` of an image as cameras for dora send it: raw numbers with
    ``encoding``, ``width`` and ``height``, or a file (``jpeg``, ``png``...), which is brought to 8
    bits as ``options`` say.

    Raises:
        InputError: it cannot be read.
    """
    encoding = str(metadata.get("encoding", ""))
    if not pa.types.is_primitive(value.type):
        raise InputError(f"an image of {value.type}; expected its bytes or numbers.")
    data = np.ascontiguousarray(value.to_numpy(zero_copy_only=False)).view(np.uint8)
    if encoding not in ENCODINGS:
        return compressed_pixels(data, encoding, options)
    height, width = (whole(name, metadata.get(name), 1) for name in ("height", "width"))
    return raw_pixels(data, encoding, height, width)


def requests_of(value: pa.Array) -> list[Request]:
    """Requests, one a struct with any of ``points``, ``labels``, ``box`` and ``name``; or the boxes
    of a detector: one struct with ``bbox`` (x1 y1 x2 y2 of all, flat) and ``labels`` (names).

    Raises:
        InputError: something else.
    """
    requests: list[Request] = []
    for row in value.to_pylist():
        if not isinstance(row, dict):
            raise InputError(
                f"a request {shown(row)}; expected a struct with points, labels, box or name."
            )
        requests += _of_detector(row) if "bbox" in row else [_request(row)]
    return requests


def _request(row: Mapping[str, Any]) -> Request:
    known = ("points", "labels", "box", "name")
    unknown = [name for name in row if name not in known]
    if unknown:
        raise InputError(f"a request with '{unknown[0]}'; expected {', '.join(known)}.")
    given = {name: value for name, value in row.items() if value is not None}
    return Request(**{**given, "name": str(given.get("name", ""))})


def _of_detector(row: Mapping[str, Any]) -> list[Request]:
    flat, names = row["bbox"] or [], row.get("labels") or []
    if not isinstance(flat, list) or not isinstance(names, list):
        raise InputError(
            f"bbox={shown(flat)}, labels={shown(names)}; expected [x1, y1, x2, y2, ...] of all "
            "boxes and a name each."
        )
    boxes = [flat[start : start + 4] for start in range(0, len(flat), 4)]
    names = names or [""] * len(boxes)
    if len(names) != len(boxes):
        raise InputError(f"{len(names)} labels for {len(boxes)} boxes; send one a box.")
    return [Request(box=box, name=str(name)) for box, name in zip(boxes, names, strict=True)]


def result_message(result: Segmented) -> pa.Array:
    """A frame's objects as one :data:`RESULT`."""
    found = [
        {
            **{name: getattr(each, name) for name in ("id", "name", "followed", "area", "score")},
            "box": list(each.box),
            "mask": each.rle.to_coco()["counts"],
        }
        for each in result.found
    ]
    row = {
        "number": result.number,
        "height": result.size[0],
        "width": result.size[1],
        "found": found,
        "lost": list(result.lost),
        "ended": [{"id": id, "why": why} for id, why in result.ended.items()],
    }
    return pa.array([row], type=RESULT)


def diagnosis_message(diagnosis: Diagnosis) -> pa.Array:
    """One struct: ``level`` (OK, WARN, ERROR), ``message``, and the figures by name."""
    row = {"level": diagnosis.level.name, "message": diagnosis.message}
    return pa.array([{**row, **diagnosis.values}])


def reply_message(ids: Sequence[int], error: str) -> pa.Array:
    """The answer to a request: ids of new objects, and what is wrong or nothing."""
    kind = pa.struct({"ids": pa.list_(pa.int32()), "error": pa.string()})
    return pa.array([{"ids": list(ids), "error": error}], type=kind)
