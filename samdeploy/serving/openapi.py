"""The OpenAPI document, made of the endpoints and their structs."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import msgspec

from samdeploy.serving.endpoints import Endpoint

_JSON = "application/json"
#: Statuses that any route may refuse with.
_REFUSALS = {
    "400": "The request is no JSON.",
    "401": "The token is missing or wrong.",
    "403": "A name or a page that may not use this server.",
    "404": "No such model or image.",
    "408": "The request took too long to arrive.",
    "413": "The request is too large.",
    "415": "The request is of another content type.",
    "422": "A value cannot be used; the sentence says which.",
    "424": "Label Studio does not give the image.",
    "500": "The server failed; its output says why.",
    "503": "The model is busy; Retry-After says when to come back.",
}


def document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """OpenAPI 3.1 of the given endpoints."""
    types = [t for e in endpoints for t in (e.body, e.answer, e.dialect.error) if t is not None]
    types = list(dict.fromkeys(types))
    found, components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    schemas = dict(zip(types, found, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        operation = _operation(endpoint, schemas)
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = operation
    secret = {"type": "http", "scheme": "bearer"}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "samdeploy",
            "version": version("samdeploy"),
            "description": "Segment Anything, served on this machine. A token is needed where the "
            "server was given one.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"token": secret}},
        "security": [{}, {"token": []}],
    }


def _operation(endpoint: Endpoint, schemas: dict[Any, Any]) -> dict[str, Any]:
    problem = {_JSON: {"schema": schemas[endpoint.dialect.error]}}
    operation: dict[str, Any] = {
        "operationId": f"{endpoint.method.lower()}{endpoint.path.replace('/', '_')}",
        "summary": endpoint.summary,
        "tags": [endpoint.dialect.name],
        "parameters": [
            {"name": name, "in": "query", "description": meaning, "schema": {"type": "string"}}
            for name, meaning in endpoint.query.items()
        ]
        + [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in endpoint.path_names
        ],
        "responses": {
            str(endpoint.status): {
                "description": endpoint.summary,
                "content": {_JSON: {"schema": schemas[endpoint.answer]}},
            },
            **{
                status: {"description": meaning, "content": problem}
                for status, meaning in _REFUSALS.items()
            },
        },
    }
    if endpoint.body is not None:
        content: dict[str, Any] = {_JSON: {"schema": schemas[endpoint.body]}}
        if endpoint.takes_files:
            content["image/*"] = content["application/octet-stream"] = {"schema": {}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation
