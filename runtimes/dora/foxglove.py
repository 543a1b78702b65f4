"""Messages that Foxglove and other viewers of MCAP files know, as JSON: the fields of its schemas
(docs.foxglove.dev, "Message schemas") that we fill."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samdeploy.masks.drawing import colour


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def _list(items: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


_TEXT, _WHOLE, _NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}
_BYTES = {"type": "string", "contentEncoding": "base64"}
_TIME = _object(sec=_WHOLE, nsec=_WHOLE)
_POINT, _COLOUR = _object(x=_NUMBER, y=_NUMBER), _object(r=_NUMBER, g=_NUMBER, b=_NUMBER, a=_NUMBER)


def _image(**properties: Any) -> dict[str, Any]:
    return _object(timestamp=_TIME, frame_id=_TEXT, data=_BYTES, **properties)


#: By name, as JSON Schema.
SCHEMAS: dict[str, dict[str, Any]] = {
    "foxglove.CompressedImage": _image(format=_TEXT),
    "foxglove.RawImage": _image(width=_WHOLE, height=_WHOLE, encoding=_TEXT, step=_WHOLE),
    "foxglove.ImageAnnotations": _object(
        circles=_list(_object()),
        points=_list(
            _object(
                timestamp=_TIME,
                type=_WHOLE,
                points=_list(_POINT),
                outline_color=_COLOUR,
                outline_colors=_list(_COLOUR),
                fill_color=_COLOUR,
                thickness=_NUMBER,
            )
        ),
        texts=_list(
            _object(
                timestamp=_TIME,
                position=_POINT,
                text=_TEXT,
                font_size=_NUMBER,
                text_color=_COLOUR,
                background_color=_COLOUR,
            )
        ),
    ),
    # Ours: what runtimes/dora/messages.py calls RESULT, and diagnostics.
    "samdeploy.Objects": _object(
        number=_WHOLE, height=_WHOLE, width=_WHOLE, found=_list(_object()), lost=_list(_WHOLE)
    ),
    "samdeploy.Diagnostics": _object(level=_TEXT, message=_TEXT),
}
_LINE_LOOP = 2  # of foxglove.PointsAnnotation


def _time(nanoseconds: int) -> dict[str, int]:
    seconds, rest = divmod(nanoseconds, 10**9)
    return {"sec": seconds, "nsec": rest}


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def camera_image(pixels: NDArray[np.uint8], stamp: int) -> dict[str, Any]:
    """``foxglove.CompressedImage`` of RGB uint8 ``[H, W, 3]``, at ``stamp`` in nanoseconds."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=90)
    data = _text(out.getvalue())
    return {"timestamp": _time(stamp), "frame_id": "camera", "data": data, "format": "jpeg"}


def label_image(labels: NDArray[np.uint16], stamp: int) -> dict[str, Any]:
    """``foxglove.RawImage`` of uint16 ``[H, W]``."""
    height, width = labels.shape
    return {
        "timestamp": _time(stamp),
        "frame_id": "camera",
        "width": width,
        "height": height,
        "encoding": "mono16",
        "step": 2 * width,
        "data": _text(labels.astype("<u2").tobytes()),
    }


def box_annotations(found: Sequence[Mapping[str, Any]], stamp: int) -> dict[str, Any]:
    """``foxglove.ImageAnnotations``: the box and number of each object."""
    time, points, texts = _time(stamp), [], []
    for each in found:
        x1, y1, x2, y2 = each["box"]
        red, green, blue = (value / 255 for value in colour(each["id"]))
        shade = {"r": red, "g": green, "b": blue, "a": 1}
        corners = [{"x": x, "y": y} for x, y in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))]
        points.append(
            {
                "timestamp": time,
                "type": _LINE_LOOP,
                "points": corners,
                "outline_color": shade,
                "outline_colors": [],
                "fill_color": {"r": 0, "g": 0, "b": 0, "a": 0},
                "thickness": 2,
            }
        )
        texts.append(
            {
                "timestamp": time,
                "position": corners[0],
                "text": f"{each['id']} {each['name']}".rstrip(),
                "font_size": 12,
                "text_color": {"r": 1, "g": 1, "b": 1, "a": 1},
                "background_color": shade,
            }
        )
    return {"circles": [], "points": points, "texts": texts}


def schema_text(name: str) -> bytes:
    """JSON Schema of one of :data:`SCHEMAS`."""
    return json.dumps({"title": name, **SCHEMAS[name]}).encode()
