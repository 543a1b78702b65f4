"""ONNX Runtime, on any execution provider that is installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime as ort

from samdeploy.errors import BundleError, InputError, RuntimeUnavailableError
from samdeploy.session import Array, Availability, RuntimeOptions, Session, TensorSpec

#: Device names to execution providers, best first.
PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "webgpu": "WebGpuExecutionProvider",
    "cpu": "CPUExecutionProvider",
}

_OPTIMIZATION = {
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "off": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(bool)": "bool",
}


class OnnxRuntime:
    name: ClassVar[str] = "onnxruntime"
    suffixes: ClassVar[tuple[str, ...]] = (".onnx",)

    @classmethod
    def availability(cls) -> Availability:
        installed = ort.get_available_providers()
        devices = tuple(device for device, name in PROVIDERS.items() if name in installed)
        # A provider that is compiled in may still lack its driver, so plain "auto" means CPU.
        return Availability(
            devices=("cpu", *(device for device in devices if device != "cpu")),
            version=ort.__version__,
        )

    def open(self, graph: Path, role: str, *, device: str, options: RuntimeOptions) -> Session:
        kind, _, index = device.partition(":")
        if kind not in PROVIDERS:
            raise InputError(f"unknown device '{device}'; expected one of {sorted(PROVIDERS)}.")
        provider = PROVIDERS[kind]
        if provider not in ort.get_available_providers():
            raise RuntimeUnavailableError(
                f"device '{device}' needs ONNX Runtime's {provider}, which this build lacks; "
                f"usable here: {list(self.availability().devices)}."
            )
        provider_options: dict[str, Any] = {"device_id": index} if index else {}
        if provider == PROVIDERS["cpu"]:
            # Grow the arena by what is needed: doubling it wastes up to half of the memory.
            provider_options["arena_extend_strategy"] = "kSameAsRequested"
        session_options = _session_options(options)
        try:
            session = ort.InferenceSession(
                graph, session_options, providers=[(provider, provider_options)]
            )
        except Exception as error:  # ONNX Runtime raises a family of unrelated types
            raise BundleError(
                f"ONNX Runtime cannot open '{graph}' on {provider}: {_first_line(error)}; export "
                "it again or choose another device."
            ) from error
        used = session.get_providers()[0]
        if used != provider:
            raise RuntimeUnavailableError(
                f"device '{device}' could not be initialised and ONNX Runtime fell back to {used}; "
                f"install the driver of {provider} or pass device=cpu."
            )
        return OnnxSession(session)


class OnnxSession:
    def __init__(self, session: ort.InferenceSession) -> None:
        self._session: ort.InferenceSession | None = session
        self.inputs = tuple(_spec(value) for value in session.get_inputs())
        self.outputs = tuple(_spec(value) for value in session.get_outputs())
        self._names = [spec.name for spec in self.outputs]
        self._provider: str = session.get_providers()[0]

    @property
    def provider(self) -> str:
        return self._provider

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        if self._session is None:
            raise InputError("the session is closed; open the model again.")
        results = self._session.run(self._names, dict(feeds))
        return {name: np.asarray(result) for name, result in zip(self._names, results, strict=True)}

    def close(self) -> None:
        self._session = None


def _session_options(options: RuntimeOptions) -> ort.SessionOptions:
    if options.graph_optimization not in _OPTIMIZATION:
        raise InputError(
            f"graph_optimization='{options.graph_optimization}'; expected one of "
            f"{list(_OPTIMIZATION)}."
        )
    if options.precision not in (None, "f32") or options.cache is not None:
        raise InputError(
            f"precision={options.precision!r}, cache={options.cache!r}; ONNX Runtime computes "
            "in the graph's own precision and keeps no cache, leave both out."
        )
    made = ort.SessionOptions()
    made.log_severity_level = 3  # errors only: warnings about folding are of no use to a user
    made.graph_optimization_level = _OPTIMIZATION[options.graph_optimization]
    made.enable_cpu_mem_arena = options.memory_arena
    # Planned buffers come on top of the arena that the first run filled: ViT-B's encoder peaks at
    # 2.5 GB with the plan and at 1.6 GB without, at the same speed.
    made.enable_mem_pattern = False
    if options.threads is not None:
        if options.threads < 1:
            raise InputError(f"threads={options.threads}; expected 1 or more.")
        made.intra_op_num_threads = options.threads
    return made


def _spec(value: Any) -> TensorSpec:
    shape = tuple(side if isinstance(side, int) else str(side) for side in value.shape)
    return TensorSpec(value.name, shape, _DTYPES.get(value.type, value.type))


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
