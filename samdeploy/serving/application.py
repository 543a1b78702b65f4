"""All routes as one ASGI application."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from samdeploy.serving import health, label_studio, osam, own, xanylabeling
from samdeploy.serving.endpoints import OWN, Dialect, Endpoint, json_response
from samdeploy.serving.guard import App, Guard
from samdeploy.serving.lingering import Lingering
from samdeploy.serving.openapi import document
from samdeploy.serving.page import PageFile, page_files
from samdeploy.serving.refusals import RefusedError
from samdeploy.serving.service import Service
from samdeploy.text import shortened

ENDPOINTS: tuple[Endpoint, ...] = (
    *own.ENDPOINTS,
    *health.ENDPOINTS,
    *osam.ENDPOINTS,
    *xanylabeling.ENDPOINTS,
    *label_studio.ENDPOINTS,
)


def application(service: Service) -> App:
    """The server as an ASGI application; the service stays the caller's to close."""
    described = msgspec.json.encode(document(ENDPOINTS))
    files = page_files(service, own.PREFIX.strip("/"))
    files["/openapi.json"] = PageFile(described, "application/json")
    routes = [Route(e.path, _handler(e, service), methods=[e.method]) for e in ENDPOINTS]
    routes += [Route(path, _giver(file), methods=["GET"]) for path, file in files.items()]
    starlette = Starlette(routes=routes, exception_handlers={HTTPException: _no_route})
    guarded = Guard(starlette, service.settings, dialect_at)
    return Lingering(guarded, service.settings.body_seconds)


def dialect_at(path: str) -> Dialect:
    """How the route at a path says no."""
    return next((each.dialect for each in ENDPOINTS if each.is_at(path)), OWN)


_Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def _handler(endpoint: Endpoint, service: Service) -> _Handler:
    async def respond(request: Request) -> Response:
        return await endpoint.respond(service, request)

    return respond


def _giver(file: PageFile) -> _Handler:
    async def respond(request: Request) -> Response:
        headers = {"Cache-Control": "no-cache", **file.headers}
        return Response(file.content, 200, headers, file.type)

    return respond


async def _no_route(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 500)
    asked = f"{request.method} {shortened(request.url.path)}"
    allowed = (getattr(error, "headers", None) or {}).get("Allow", "")
    methods = " or ".join(sorted(allowed.split(", ")))  # Starlette has them in any order
    remedy = f"expected {methods}." if methods else "/openapi.json lists what there is."
    problem = OWN.write(RefusedError(status, f"{asked} is not answered here; {remedy}"))
    return json_response(problem, status, getattr(error, "headers", None))
