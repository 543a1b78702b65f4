"""A device that computes in bf16 or fp32, for machines whose processor does not.

Every array that a graph takes or gives is rounded to bfloat16 in NumPy. That is less rounding than
a processor does, and enough for a gate to measure.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import openvino as ov
import pytest

from samdeploy import registry
from samdeploy.errors import InputError
from samdeploy.session import Array, Availability, Runtime, RuntimeOptions, Session


def bf16(array: Array) -> Array:
    """float32 values to the nearest that bfloat16 has: the upper half of their bits."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).view(np.float32)


class RoundingSession:
    """``session`` in bf16."""

    def __init__(self, session: Session) -> None:
        self.inputs, self.outputs = session.inputs, session.outputs
        self.provider = f"{session.provider} bf16"
        self._session = session

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        # Coordinates and labels stay: no device rounds them, OpenVINO's keep them in float32.
        rounded = {
            name: array if name.startswith("point_") else bf16(array)
            for name, array in feeds.items()
        }
        return {name: bf16(array) for name, array in self._session.run(rounded).items()}

    def close(self) -> None:
        self._session.close()


def rounding_runtime(runtime: type[Runtime], able: bool) -> type[Runtime]:
    """``runtime`` on a device that computes in bf16 when it is asked to, if it is ``able``."""

    class Rounding(runtime):  # type: ignore[misc, valid-type]
        asked: ClassVar[list[tuple[str, str | None]]] = []

        @classmethod
        def availability(cls) -> Availability:
            state = runtime.availability()
            return Availability(
                devices=state.devices, version="0", lower=lambda device: ("bf16",) * able
            )

        def open(self, graph: Path, role: str, *, device: str, options: RuntimeOptions) -> Session:
            self.asked.append((role, options.precision))
            if options.precision == "fp32":
                return super().open(graph, role, device=device, options=options)
            if options.precision != "bf16" or not able:
                raise InputError(f"precision={options.precision}; device 'cpu' uses fp32 instead.")
            plain = RuntimeOptions(threads=options.threads, precision="fp32")
            return RoundingSession(super().open(graph, role, device=device, options=plain))

    return Rounding


class Bf16Core:
    """OpenVINO on a processor that has bf16 and takes it unless it is told otherwise."""

    available_devices = ("CPU",)

    def __init__(self) -> None:
        self._core = _CORE()

    def get_property(self, device: str, name: str) -> Any:
        found = self._core.get_property(device, name)
        return [*found, "BF16"] if name == "OPTIMIZATION_CAPABILITIES" else found

    def compile_model(self, graph: Path, device: str, settings: dict[str, Any]) -> Any:
        used = settings.get("INFERENCE_PRECISION_HINT", "bf16")
        used = "f32" if used == "f16" else used
        compiled = self._core.compile_model(
            graph, device, settings | {"INFERENCE_PRECISION_HINT": "f32"}
        )
        return _Bf16Model(compiled) if used == "bf16" else compiled


class _Bf16Model:
    def __init__(self, compiled: ov.CompiledModel) -> None:
        self._compiled = compiled

    def __getattr__(self, name: str) -> Any:
        return getattr(self._compiled, name)

    def get_property(self, name: str) -> Any:
        if name == "INFERENCE_PRECISION_HINT":
            return ov.Type.bf16
        return self._compiled.get_property(name)

    def create_infer_request(self) -> Any:
        return _Bf16Request(self._compiled.create_infer_request())


class _Bf16Request:
    def __init__(self, request: ov.InferRequest) -> None:
        self._request = request

    def infer(self, feeds: Mapping[str, Array], **how: bool) -> list[Array]:
        rounded = {
            name: array if name.startswith("point_") else bf16(array)
            for name, array in feeds.items()
        }
        found = self._request.infer(rounded, **how)
        return [bf16(found[index]) for index in range(len(found))]


_CORE = ov.Core


def bf16_openvino(patch: pytest.MonkeyPatch) -> None:
    """Let OpenVINO find a processor with bf16."""
    patch.setattr("samdeploy.runtimes.openvino.ov.Core", Bf16Core)


def bf16_runtime(patch: pytest.MonkeyPatch, name: str, able: bool = True) -> Any:
    """Let the registry find the runtime ``name`` on such a device; its ``asked`` are the roles that
    it opened, and in what."""
    point_of = registry._point
    chosen = rounding_runtime(registry.load_runtime(name), able)

    def find(group: str, wanted: str, what: str) -> Any:
        point = point_of(group, wanted, what)
        ours = (group, wanted) == (registry.RUNTIMES, name)
        if not ours:
            return point
        return SimpleNamespace(name=name, dist=point.dist, extras=point.extras, load=lambda: chosen)

    patch.setattr(registry, "_point", find)
    return chosen
