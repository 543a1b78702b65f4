"""A client of the standard library, and images as requests bring them."""

from __future__ import annotations

import base64
import http.client
import io
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def ok(self, status: int = 200) -> Any:
        """The JSON of an answer that must have succeeded."""
        assert self.status == status, (self.status, self.body[:500])
        return self.json


class Client:
    """One connection a request; every request has the given headers."""

    def __init__(self, url: str, **headers: str) -> None:
        self.url = url
        self._headers = headers
        address = urlsplit(url)
        assert address.hostname is not None
        self.address = address.hostname, address.port

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """``body`` that is no text or bytes is sent as JSON; underscores in names of headers are
        dashes."""
        host, port = self.address
        connection = http.client.HTTPConnection(host, port, timeout=60)
        named = {name.replace("_", "-"): value for name, value in (self._headers | headers).items()}
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
            named.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        return Reply(
            answer.status, {name.lower(): value for name, value in answer.getheaders()}, content
        )

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, **headers)

    def post(self, path: str, body: Any, **headers: str) -> Reply:
        return self.ask("POST", path, body, **headers)


def png(image: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def mask_of(written: str) -> NDArray[np.bool_]:
    """A mask of base64 of a PNG."""
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(written))))
    assert set(np.unique(pixels)) <= {0, 255}
    return pixels > 0
