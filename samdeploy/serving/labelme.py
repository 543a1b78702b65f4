"""labelme on a server of ours.

labelme runs models inside itself, through the package osam, and its list of them is fixed. So those
of the list are replaced, in the process that runs labelme, by one that asks the server.
"""

from __future__ import annotations

import base64
import io
import json
import urllib.error
import urllib.request
from typing import Any, ClassVar

import numpy as np
from PIL import Image

#: The models of labelme's list that answer points and boxes.
LISTED = (
    "efficientsam:10m", "efficientsam:latest", "sam2:tiny", "sam2:small", "sam2:latest",
    "sam2:large",
)  # fmt: skip
_SECONDS = 300.0


def use_server(url: str, model: str, token: str | None = None) -> None:
    """Have labelme, started later in this process, ask the ``model`` of the server at ``url``.

    Needs osam, which labelme brings.
    """
    import osam

    class Served(osam.types.Model):
        metadata = None
        _blobs: ClassVar[dict[str, Any]] = {}

        def encode_image(self, image: Any) -> Any:
            raise NotImplementedError  # labelme then sends the image with every prompt

        def generate(self, request: Any) -> Any:
            prompt = request.prompt
            asked = {
                "model": model,
                "image": _png(request.image),
                "prompt": None if prompt is None else prompt.model_dump(exclude_none=True),
            }
            annotations = [
                osam.types.Annotation(**each, mask=_mask(mask))
                for each in _ask(f"{url.rstrip('/')}/api/generate", asked, token)["annotations"]
                for mask in [each.pop("mask")]
            ]
            return osam.types.GenerateResponse(model=self.name, annotations=annotations)

    known = osam.apis.registered_model_types
    known[:] = [each for each in known if each.name not in LISTED] + [
        type("Served", (Served,), {"name": name}) for name in LISTED
    ]


def _ask(url: str, asked: Any, token: str | None) -> Any:
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Token"] = token.encode().decode("latin-1")  # as which headers are sent
    request = urllib.request.Request(url, json.dumps(asked).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            raise ValueError(_sentence(error)) from error


def _sentence(error: urllib.error.HTTPError) -> str:
    """Why the server, or a proxy before it, refused."""
    try:
        told = json.load(error)
        return str(told.get("detail") or told["error"])
    except (ValueError, KeyError, AttributeError):
        return f"the server answered {error.code} {error.reason}."


def _png(image: Any) -> str:
    file = io.BytesIO()
    # Fast rather than small: it goes no further than this machine.
    Image.fromarray(image).save(file, "PNG", compress_level=1)
    return base64.b64encode(file.getvalue()).decode()


def _mask(written: str) -> Any:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(written)))) > 0
