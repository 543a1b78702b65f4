"""Images of Label Studio's tasks, from the one server that was named and from nowhere else."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from samdeploy.serving.pictures import Picture, picture_of
from samdeploy.serving.refusals import RefusedError
from samdeploy.text import reason, shortened

#: Seconds without a byte, and for an image as a whole.
_SILENCE, _SECONDS = 10.0, 60.0
_CHUNK = 1 << 16
_DEFAULT_PORTS = {"http": 80, "https": 443}
#: What an address may hold beside letters and digits; ``%`` is where it was quoted already.
_IN_ADDRESSES = "%/:=&?~#+!$,;'@()*[]"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect could lead anywhere."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


class LabelStudioImages:
    """Fetches from the Label Studio at ``url`` with a user's ``token``, at most ``most`` bytes."""

    def __init__(self, url: str, token: str | None, most: int) -> None:
        self._url = url.rstrip("/") + "/"
        self._token = token
        self._most = most
        self._opener = urllib.request.build_opener(_NoRedirect)

    def address(self, written: str) -> str:
        """The whole address of a task's image.

        Raises:
            RefusedError: it is not on this Label Studio.
        """
        try:
            address = urljoin(self._url, written)
            here = _server(urlsplit(address)) == _server(urlsplit(self._url))
        except ValueError:
            here = False
        if not here:
            raise RefusedError(
                422,
                f"image {shortened(written)!r} is not on {self._url}; images are fetched from "
                "there alone.",
            )
        return quote(address, safe=_IN_ADDRESSES)  # file names have blanks and any letters

    def fetch(self, address: str) -> Picture:
        """The image at an :meth:`address`.

        Raises:
            RefusedError: it cannot be had.
        """
        try:
            request = urllib.request.Request(address, headers=self._authorization())
            return picture_of(self._read(request))
        except (OSError, HTTPException, ValueError) as error:
            raise RefusedError(
                424,
                f"image {shortened(address)!r} cannot be fetched ({reason(error)}); check "
                "label_studio and label_studio_token.",
            ) from error

    def _authorization(self) -> Mapping[str, str]:
        """A personal access token is three parts between dots, and buys one that lives shortly; an
        older one is sent as it is."""
        token = self._token
        if token is None:
            return {}
        if token.count(".") != 2:
            return {"Authorization": f"Token {token}"}
        request = urllib.request.Request(
            urljoin(self._url, "api/token/refresh"),
            json.dumps({"refresh": token}).encode(),
            {"Content-Type": "application/json"},
        )
        answer = json.loads(self._read(request))
        if not isinstance(answer, dict) or not isinstance(answer.get("access"), str):
            raise ValueError("the access token was not renewed")
        return {"Authorization": f"Bearer {answer['access']}"}

    def _read(self, request: urllib.request.Request) -> bytes:
        ends, content = time.monotonic() + _SECONDS, bytearray()
        try:
            response = self._opener.open(request, timeout=_SILENCE)
        except urllib.error.HTTPError as error:
            error.close()
            raise
        with response:
            while part := response.read1(_CHUNK):
                content += part
                if len(content) > self._most:
                    raise ValueError(f"it has more than {self._most} bytes")
                if time.monotonic() > ends:
                    raise ValueError(f"it took more than {_SECONDS:g} s")
        return bytes(content)


def _server(parts: SplitResult) -> tuple[str, str | None, int | None]:
    port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    if parts.username is not None:
        raise ValueError("a name before the server")
    return parts.scheme, parts.hostname, port
