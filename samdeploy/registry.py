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
#: Rows whose value is a name instead of an object. What else people call a format or a runtime;
#: and the runtime that opens what is no bundle.
ALIASES, OPENERS = "samdeploy.aliases", "samdeploy.openers"
#: What is no bundle. A runtime that opens nothing invents its answers: for tests, by name alone.
CHECKPOINT, ONNX_FILE, NOTHING = "checkpoint", "onnx_file", "nothing"
#: The part of a bundle that the kernels read (:data:`samdeploy.graphs.KERNELS_FILE`).
DECODER_WEIGHTS = "decoder_weights"


@lru_cache
def _found(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in sorted(entry_points(group=group))}


def exporter_names() -> list[str]:
    """Formats that can be exported, if their library is installed."""
    return list(_found(EXPORTERS))


def runtime_names() -> list[str]:
    """Runtimes that can be asked for, if their library is installed."""
    return list(_found(RUNTIMES))


def runtime_name(name: str) -> str:
    """The runtime that a name or an alias means; it is not loaded.

    Raises:
        InputError: no such runtime.
    """
    return _point(RUNTIMES, name, "runtime").name


def opener_of(kind: str) -> str:
    """Name of the runtime that opens a :data:`CHECKPOINT`, :data:`ONNX_FILE` or :data:`NOTHING`."""
    return _found(OPENERS)[kind].value


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
    wanted = name.lower()
    aliases = _found(ALIASES)
    if wanted not in points and wanted in aliases:
        wanted = aliases[wanted].value
    if wanted not in points:
        raise InputError(f"unknown {what} '{name}'; {suggestion(wanted, points)}")
    return points[wanted]


def _install(point: EntryPoint) -> str:
    """The command that brings the libraries of a row: also of an installed package, pip adds those
    that it lacks."""
    owner = "samdeploy" if point.dist is None else point.dist.name
    return (
        f"pip install '{owner}[{','.join(point.extras)}]'"
        if point.extras
        else f"pip install {owner}"
    )
