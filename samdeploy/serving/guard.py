"""Who may use the server: in front of every route.

A page that somebody visits must not use a server on his own machine. Browsers say where a request
comes from (``Origin``) and which name it was made for (``Host``): a page of another origin is
refused, and so is a name that is not ours, which an attacker could make mean this machine later
(DNS rebinding). Addresses cannot be made to mean something else, so they are always ours.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from samdeploy.serving.endpoints import Dialect, json_response
from samdeploy.serving.refusals import RefusedError
from samdeploy.serving.settings import ServerSettings
from samdeploy.text import shortened

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]

#: What a monitor may ask without a token.
_OPEN = ("/health",)
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="samdeploy", charset="UTF-8"'}
#: Of every answer: no other page may show or guess at it, and ours shares memory with no other, so
#: that it may use threads.
_HEADERS = [
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-embedder-policy", b"require-corp"),
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
]


class Guard:
    """An ASGI application around ``app`` that lets through what may come; ``dialect_at`` tells of a
    path how its route says no."""

    def __init__(
        self, app: App, settings: ServerSettings, dialect_at: Callable[[str], Dialect]
    ) -> None:
        self._app, self._dialect_at = app, dialect_at
        self._token = settings.token
        self._origins = frozenset(origin.rstrip("/").lower() for origin in settings.origins)
        names = {"localhost", settings.host.lower(), *(name.lower() for name in settings.hosts)}
        if not settings.is_private:
            names.add(socket.gethostname().lower())
        self._names = frozenset(names)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        origin = headers.get("origin")
        extra = [*_HEADERS, *self._sharing(origin)]

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *extra]
            await send(message)

        refusal = self._refusal(scope, headers, origin)
        if refusal is not None:
            problem = self._dialect_at(scope["path"]).write(refusal)
            answer = json_response(problem, refusal.status, refusal.headers)
            await answer(scope, receive, send_with_headers)
        elif scope["method"] == "OPTIONS" and origin is not None:
            await json_response(None)(scope, receive, send_with_headers)
        else:
            await self._app(scope, receive, send_with_headers)

    def _refusal(
        self, scope: Message, headers: dict[str, str], origin: str | None
    ) -> RefusedError | None:
        host = headers.get("host", "")
        if not self._is_ours(host):
            return RefusedError(
                403,
                f"Host is {shortened(host)!r}, which is no name of this server; use its address, "
                "or start it with hosts=NAME.",
            )
        if origin is not None and not self._may_come_from(origin, host, scope["scheme"]):
            return RefusedError(
                403,
                f"a page of {shortened(origin)!r} may not use this server; start it with "
                "origins=ORIGIN to let it.",
            )
        free = scope["method"] == "OPTIONS" or scope["path"] in _OPEN
        if self._token is not None and not free and not self._knows_token(headers):
            return RefusedError(
                401,
                "the token is missing or wrong; send it as 'Authorization: Bearer TOKEN', as a "
                "header 'Token', or as a password.",
                _CHALLENGE,
            )
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        return name is not None and (name in self._names or _is_address(name))

    def _may_come_from(self, origin: str, host: str, scheme: str) -> bool:
        origin = origin.lower()
        return origin == f"{scheme}://{host.lower()}" or origin in self._origins

    def _sharing(self, origin: str | None) -> Iterable[tuple[bytes, bytes]]:
        """Headers that let a page of a permitted origin read the answer."""
        if origin is None or origin.lower() not in self._origins:
            return ()
        return (
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-allow-headers", b"authorization, content-type, token"),
            (b"access-control-allow-methods", b"GET, POST"),
            (b"vary", b"Origin"),
        )

    def _knows_token(self, headers: dict[str, str]) -> bool:
        assert self._token is not None
        expected = self._token.encode()
        kind, _, value = headers.get("authorization", "").partition(" ")
        if kind.lower() == "basic":
            value = _password(value)
        # Read as Latin-1: some programs write that, others UTF-8, of which these are the bytes.
        texts, forms = (value, headers.get("token", "")), ("latin-1", "utf-8")
        given = [text.encode(form) for text in texts for form in forms]
        # Compared in a time that tells nothing of how much was right.
        return True in [hmac.compare_digest(each, expected) for each in given]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _password(credentials: str) -> str:
    """The password of basic authentication, read as Latin-1; empty where there is none."""
    try:
        return base64.b64decode(credentials, validate=True).decode("latin-1").partition(":")[2]
    except (binascii.Error, ValueError):
        return ""
