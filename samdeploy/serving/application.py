"""All routes as one ASGI application."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from samdeploy.serving import health, label_studio, osam, own, xanylabeling
from samdeploy.serving.endpoints import OWN, Endpoint, json_response
from samdeploy.serving.guard import App, Guard
from samdeploy.serving.openapi import document
from samdeploy.serving.page import index
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
    described = document(ENDPOINTS)
    paths = [f"{endpoint.method} {endpoint.path}" for endpoint in ENDPOINTS]
    routes = [Route(e.path, _handler(e, service), methods=[e.method]) for e in ENDPOINTS]
    routes += [
        Route("/openapi.json", _answered(lambda: json_response(described)), methods=["GET"]),
        Route("/", _answered(lambda: index(service, paths)), methods=["GET"]),
    ]
    starlette = Starlette(routes=routes, exception_handlers={HTTPException: _no_route})
    return Guard(starlette, service.settings)


_Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def _handler(endpoint: Endpoint, service: Service) -> _Handler:
    async def respond(request: Request) -> Response:
        return await endpoint.respond(service, request)

    return respond


def _answered(make: Callable[[], Response]) -> _Handler:
    async def respond(request: Request) -> Response:
        return make()

    return respond


async def _no_route(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 500)
    asked = f"{request.method} {shortened(request.url.path)}"
    allowed = (getattr(error, "headers", None) or {}).get("Allow")
    remedy = f"expected {allowed}." if allowed else "/openapi.json lists what there is."
    problem = OWN.write(RefusedError(status, f"{asked} is not answered here; {remedy}"))
    return json_response(problem, status, getattr(error, "headers", None))
