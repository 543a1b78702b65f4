"""A route as data: what it takes and gives, how it refuses, and who answers it.

The application and the OpenAPI document are made of the same list of these.
"""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from samdeploy.errors import SamDeployError
from samdeploy.json_files import UnreadableError, decode_json
from samdeploy.serving.bodies import read_body
from samdeploy.serving.refusals import RefusedError, refusal_of
from samdeploy.serving.service import Service
from samdeploy.serving.wire import Problem
from samdeploy.text import reason, shortened

_JSON = "application/json"


@dataclass(frozen=True)
class Dialect:
    """How a family of routes says no: ``write(refusal)`` makes an ``error``."""

    name: str
    error: type[Any]
    write: Callable[[RefusedError], Any]


OWN = Dialect("samdeploy", Problem, lambda refusal: Problem(str(refusal)))


@dataclass(frozen=True)
class Call:
    """One request: its JSON as the struct of the endpoint, or bytes, and the parts of its URL."""

    body: Any
    query: Mapping[str, str]
    path: Mapping[str, str]


@dataclass(frozen=True)
class Endpoint:
    """A route.

    Attributes:
        handle: makes the answer, of type ``answer``.
        body: struct of its JSON; ``None`` for a route without a body.
        takes_files: whether a body that is no JSON is handed on as the bytes of a file.
        query: names of what may follow the ``?``, and what they mean.
        status: of an answer.
    """

    method: str
    path: str
    summary: str
    handle: Callable[[Service, Call], Awaitable[Any]]
    answer: Any
    body: type[Any] | None = None
    takes_files: bool = False
    query: Mapping[str, str] = field(default_factory=dict)
    dialect: Dialect = OWN
    status: int = 200

    @property
    def path_names(self) -> list[str]:
        """What stands in braces in the path."""
        return re.findall(r"{(\w+)}", self.path)

    def is_at(self, path: str) -> bool:
        """Whether a request for ``path`` means this route."""
        return re.fullmatch(re.sub(r"{\w+}", "[^/]+", self.path), path) is not None

    async def respond(self, service: Service, request: Request) -> Response:
        """Read a request and answer it; whatever goes wrong becomes one sentence."""
        try:
            if self.body is None:
                return await self._answer(service, request, None)
            with service.admitted():
                return await self._answer(service, request, await self._read(service, request))
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except SamDeployError as error:
            return self.refuse(refusal_of(error))
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            return self.refuse(
                RefusedError(500, f"the server failed ({reason(error)}); see its output.")
            )

    async def _answer(self, service: Service, request: Request, body: Any) -> Response:
        call = Call(body, request.query_params, request.path_params)
        return json_response(await self.handle(service, call), self.status)

    def refuse(self, refusal: RefusedError) -> Response:
        """The answer to a request that is refused."""
        return json_response(self.dialect.write(refusal), refusal.status, refusal.headers)

    async def _read(self, service: Service, request: Request) -> Any:
        kind = request.headers.get("content-type", _JSON).partition(";")[0].strip().lower()
        is_json = kind == _JSON or kind.endswith("+json")
        if not is_json and not self.takes_files:
            raise RefusedError(415, f"Content-Type is {shortened(kind)!r}; expected {_JSON}.")
        limits = service.settings
        content = await read_body(request, limits.max_bytes, limits.body_seconds)
        if not is_json:
            return content
        assert self.body is not None
        return parse(content, self.body)


def parse(content: bytes, kind: type[Any]) -> Any:
    """JSON as a struct.

    Raises:
        RefusedError: it is no JSON (400), or other JSON than expected (422).
    """
    try:
        return decode_json(content, kind)
    except UnreadableError as error:
        valid = isinstance(error.__cause__, msgspec.ValidationError)
        raise RefusedError(
            422 if valid else 400,
            f"the request cannot be read: {str(error).rstrip('.')}; see /openapi.json.",
        ) from error


def json_response(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """``value``, made of structs and plain values, as JSON."""
    return Response(msgspec.json.encode(value), status, dict(headers or {}), _JSON)
