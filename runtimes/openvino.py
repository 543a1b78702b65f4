"""OpenVINO, on Intel and other CPUs, GPUs and NPUs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import openvino as ov

from samdeploy.errors import BundleError, InputError, RuntimeUnavailableError
from samdeploy.session import Array, Availability, RuntimeOptions, Session, TensorSpec


class OpenVinoRuntime:
    name: ClassVar[str] = "openvino"
    suffixes: ClassVar[tuple[str, ...]] = (".xml", ".onnx")

    @classmethod
    def availability(cls) -> Availability:
        # "GPU.0" and "GPU.1" are devices of their own; "GPU" is the first of them.
        found = [device.lower() for device in ov.Core().available_devices]
        if not found:
            return Availability(reason="OpenVINO finds no device", version=ov.__version__)
        first = [device for device in found if device == "cpu"]
        rest = [device for device in found if device != "cpu"]
        return Availability(devices=(*first, *rest, "auto"), version=ov.__version__)

    def open(self, graph: Path, role: str, *, device: str, options: RuntimeOptions) -> Session:
        core = ov.Core()
        kind = device.partition(".")[0].upper()
        if kind != "AUTO" and kind not in {
            name.partition(".")[0] for name in core.available_devices
        }:
            raise RuntimeUnavailableError(
                f"device '{device}' is not one that OpenVINO finds here; usable: "
                f"{list(self.availability().devices)}."
            )
        settings = _settings(options)
        try:
            compiled = core.compile_model(graph, device.upper(), settings)
        except RuntimeError as error:
            raise BundleError(
                f"OpenVINO cannot open '{graph}' on {device}: {str(error).splitlines()[0]}; export "
                "it again or choose another device."
            ) from error
        return OpenVinoSession(compiled)


class OpenVinoSession:
    def __init__(self, compiled: ov.CompiledModel) -> None:
        self._request: ov.InferRequest | None = compiled.create_infer_request()
        self.inputs = tuple(_spec(port) for port in compiled.inputs)
        self.outputs = tuple(_spec(port) for port in compiled.outputs)
        devices = compiled.get_property("EXECUTION_DEVICES")
        precision = compiled.get_property("INFERENCE_PRECISION_HINT")
        self._provider = f"OpenVINO {'+'.join(devices)} {precision.to_string()}"

    @property
    def provider(self) -> str:
        """Device and the precision that inference really uses, such as ``OpenVINO CPU bf16``."""
        return self._provider

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        if self._request is None:
            raise InputError("the session is closed; open the model again.")
        results = self._request.infer(dict(feeds))
        # The request's own buffers are used again by its next run.
        return {port.any_name: np.array(values) for port, values in results.items()}

    def close(self) -> None:
        self._request = None


def _settings(options: RuntimeOptions) -> dict[str, Any]:
    if options.graph_optimization != "all":
        raise InputError(
            f"graph_optimization='{options.graph_optimization}'; OpenVINO always uses 'all'."
        )
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if options.threads is not None:
        if options.threads < 1:
            raise InputError(f"threads={options.threads}; expected 1 or more.")
        settings["INFERENCE_NUM_THREADS"] = options.threads
    if options.precision is not None:
        settings["INFERENCE_PRECISION_HINT"] = options.precision
    if options.cache is not None:
        settings["CACHE_DIR"] = str(options.cache)
    return settings


def _spec(port: Any) -> TensorSpec:
    shape = tuple(
        side.get_length() if side.is_static else f"d{axis}"
        for axis, side in enumerate(port.get_partial_shape())
    )
    return TensorSpec(port.any_name, shape, np.dtype(port.get_element_type().to_dtype()).name)
