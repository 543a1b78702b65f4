"""``/health``, which monitors, Label Studio and X-AnyLabeling ask alike."""

from __future__ import annotations

from datetime import datetime, timezone

import msgspec

from samdeploy.serving.endpoints import Call, Endpoint
from samdeploy.serving.service import Service


class Health(msgspec.Struct):
    """`status` and `model_class` as Label Studio's backends say it, the rest as X-AnyLabeling's."""

    status: str
    model_class: str
    models_loaded: int
    timestamp: str


async def health(service: Service, call: Call) -> Health:
    """That the server answers."""
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    return Health("UP", "samdeploy", len(service.models), now)


ENDPOINTS = (Endpoint("GET", "/health", "That the server answers", health, Health),)
