"""Exporters, runtimes and benchmarks by name, through entry points: built-in like plugins.

Elsewhere only the plugins of ONNX Runtime are imported by name (runtimes/onnxruntime.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from samdeploy.errors import InputError
from samdeploy.libraries import ANY_FAILURE, optional_library, remedy
from samdeploy.session import Availability, Exporter, Runtime
from samdeploy.text import reason, suggestion

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
    """The state of one exporter or runtime. A library that is missing or does not work is a reason,
    whatever it raises, and ends nothing but its own row.

    Raises:
        InputError: no such name.
    """
    point = _point(group, name, name)
    try:
        state: Availability = point.load().availability()
        return replace(state, absent=lambda: _absent(state))
    except ANY_FAILURE as error:
        return Availability(reason=reason(error), install=remedy(error, _install(point)))


def _absent(state: Availability) -> Mapping[str, Availability]:
    """Reasons of a runtime's devices that are not usable; a look that fails is one row."""
    try:
        return state.absent()
    except ANY_FAILURE as error:
        return {"others": Availability(reason=reason(error))}


def _load(group: str, name: str, what: str) -> Any:
    point = _point(group, name, what)
    with optional_library(f"{what} '{point.name}'", _install(point)):
        return point.load()


def _point(group: str, name: str, what: str) -> EntryPoint:
    points = _found(group)
    wanted = _ALIASES.get(name.lower(), name.lower())
    if wanted not in points:
        raise InputError(f"unknown {what} '{name}'; {suggestion(wanted, points)}")
    return points[wanted]


def _install(point: EntryPoint) -> str:
    owner = "samdeploy" if point.dist is None else point.dist.name
    if owner != "samdeploy":
        return f"pip install {owner}"  # of an installed package, this adds the libraries it lacks
    extra = "export" if point.name in ("onnx", "torch") else point.name
    return f"pip install 'samdeploy[{extra}]'"
