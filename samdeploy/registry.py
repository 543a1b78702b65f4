"""Exporters, runtimes and benchmarks by name, through entry points: built-in like plugins.

Elsewhere only the plugins of ONNX Runtime are imported by name (runtimes/onnxruntime.py).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from samdeploy.errors import InputError, RuntimeUnavailableError
from samdeploy.session import Availability, Exporter, Runtime

EXPORTERS, RUNTIMES = "samdeploy.exporters", "samdeploy.runtimes"
BENCHMARKS = "samdeploy.benchmarks"

# What users of other tools type.
_ALIASES = {
    "ort": "onnxruntime",
    "pytorch": "torch",
    "pt": "torch",
    "engine": "tensorrt",
    "trt": "tensorrt",
    "mlpackage": "coreml",
    "ios": "coreml",
}


@lru_cache
def _found(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in sorted(entry_points(group=group))}


def exporter_names() -> list[str]:
    """Formats that can be exported, if their library is installed."""
    return list(_found(EXPORTERS))


def runtime_names() -> list[str]:
    """Runtimes that can be asked for, if their library is installed."""
    return list(_found(RUNTIMES))


def load_exporter(name: str) -> type[Exporter]:
    """The exporter class of a format.

    Raises:
        InputError: no such format.
        RuntimeUnavailableError: its library is not installed.
    """
    loaded: type[Exporter] = _load(EXPORTERS, name, "format")
    return loaded


def load_runtime(name: str) -> type[Runtime]:
    """The runtime class of that name; raises like :func:`load_exporter`."""
    loaded: type[Runtime] = _load(RUNTIMES, name, "runtime")
    return loaded


def load_benchmark(name: str) -> Callable[..., Any]:
    """A function that measures: ``formats``, ``peers``, ``models``, ``compare`` or ``tune``."""
    loaded: Callable[..., Any] = _load(BENCHMARKS, name, "benchmark")
    return loaded


def availability(group: str, name: str) -> Availability:
    """The state of one exporter or runtime; a library that is missing is a reason, not an error."""
    try:
        loaded: Availability = _load(group, name, name).availability()
    except RuntimeUnavailableError as error:
        return Availability(
            reason=str(error.__cause__ or error), install=_install(_found(group)[name])
        )
    return loaded


def _load(group: str, name: str, what: str) -> Any:
    points = _found(group)
    wanted = _ALIASES.get(name.lower(), name.lower())
    if wanted not in points:
        close = difflib.get_close_matches(wanted, points, 1)
        hint = f"did you mean '{close[0]}'" if close else f"expected one of: {', '.join(points)}"
        raise InputError(f"unknown {what} '{name}'; {hint}.")
    try:
        return points[wanted].load()
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"{what} '{wanted}' is not usable here ({error}); run: {_install(points[wanted])}."
        ) from error


def _install(point: EntryPoint) -> str:
    owner = "samdeploy" if point.dist is None else point.dist.name
    if owner != "samdeploy":
        return f"pip install {owner}"  # of an installed package, this adds the libraries it lacks
    extra = "export" if point.name in ("onnx", "torch") else point.name
    return f"pip install 'samdeploy[{extra}]'"
