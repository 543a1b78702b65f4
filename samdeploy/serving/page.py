"""What a browser sees at ``/``."""

from __future__ import annotations

from html import escape

from starlette.responses import HTMLResponse, Response

from samdeploy.serving.service import Service

#: Threads in WebAssembly need a page that shares memory with no other.
ISOLATED = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}
_STRICT = {**ISOLATED, "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}


def index(service: Service, paths: list[str]) -> Response:
    """Models and routes, as a page without a script."""
    models = "".join(
        f"<li><b>{escape(model.name)}</b>, {escape(model.facts.get('architecture', ''))} "
        f"on {escape(model.facts['device'])}</li>"
        for model in service.models.values()
    )
    routes = "".join(f"<li><code>{escape(path)}</code></li>" for path in paths)
    return HTMLResponse(
        "<!doctype html><html lang=en><meta charset=utf-8><title>samdeploy</title>"
        "<style>body{font:16px/1.5 system-ui;margin:3em auto;max-width:40em}</style>"
        f"<h1>samdeploy is running</h1><h2>Models</h2><ul>{models}</ul><h2>Routes</h2>"
        f"<ul>{routes}<li><a href=/openapi.json>/openapi.json</a></li></ul>",
        headers=_STRICT,
    )
