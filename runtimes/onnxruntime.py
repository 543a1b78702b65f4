"""ONNX Runtime, on any execution provider that is installed.

Some providers are compiled into a build of ONNX Runtime; others are plugins, packages of their own
beside it, which are registered when they are found.
"""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime as ort

from samdeploy.errors import BundleError, InputError, RuntimeUnavailableError
from samdeploy.graphs import dimension
from samdeploy.session import Array, Availability, RuntimeOptions, Session, TensorSpec


@dataclass(frozen=True)
class Provider:
    """An execution provider.

    Attributes:
        name: ONNX Runtime's name of it.
        package: the package that brings it.
        plugin: for a plugin, the function of its package that says where its library is.
        system: the only value of ``sys.platform`` that it exists for.
    """

    name: str
    package: str
    plugin: str = ""
    system: str = ""


#: Device names to execution providers, best first.
PROVIDERS = {
    "tensorrt": Provider("TensorrtExecutionProvider", "onnxruntime-gpu"),
    "rtx": Provider(
        "NvTensorRTRTXExecutionProvider",
        "onnxruntime-ep-nv-tensorrt-rtx",
        "onnxruntime_ep_nv_tensorrt_rtx:get_library_path",
    ),
    "cuda": Provider("CUDAExecutionProvider", "onnxruntime-gpu"),
    "migraphx": Provider("MIGraphXExecutionProvider", "onnxruntime-migraphx"),
    "rocm": Provider("ROCMExecutionProvider", "onnxruntime-rocm"),
    "directml": Provider("DmlExecutionProvider", "onnxruntime-directml", system="win32"),
    "coreml": Provider("CoreMLExecutionProvider", "onnxruntime", system="darwin"),
    "mlx": Provider(
        "MLXExecutionProvider",
        "onnxruntime-ep-mlx",
        "onnxruntime_ep_mlx:library_path",
        system="darwin",
    ),
    "qnn": Provider("QNNExecutionProvider", "onnxruntime-qnn", "onnxruntime_qnn:get_library_path"),
    "openvino": Provider(
        "OpenVINOExecutionProvider",
        "onnxruntime-ep-openvino",
        "onnxruntime_ep_openvino:get_library_path",
    ),
    "webgpu": Provider(
        "WebGpuExecutionProvider",
        "onnxruntime-ep-webgpu",
        "onnxruntime_ep_webgpu:get_library_path",
    ),
    "cpu": Provider("CPUExecutionProvider", "onnxruntime"),
}

_SYSTEMS = {"win32": "Windows", "darwin": "macOS"}

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
        installed = [device for device, provider in PROVIDERS.items() if _installed(provider)]
        # A provider that is installed may still lack its driver, so plain "auto" means CPU.
        return Availability(
            devices=("cpu", *(device for device in installed if device != "cpu")),
            version=ort.__version__,
            absent=lambda: {
                device: state
                for device, state in ((d, _state(p)) for d, p in PROVIDERS.items())
                if not state.usable
            },
        )

    def open(self, graph: Path, role: str, *, device: str, options: RuntimeOptions) -> Session:
        kind, _, which = device.partition(":")
        if kind not in PROVIDERS:
            raise InputError(f"unknown device '{device}'; expected one of {sorted(PROVIDERS)}.")
        state = _state(PROVIDERS[kind])
        if kind == "cpu" and which:
            state = Availability(reason="processors are not numbered, write cpu")
        if not state.usable:
            raise RuntimeUnavailableError(
                f"device '{device}' is not usable by ONNX Runtime here: "
                f"{'; '.join(filter(None, (state.reason, state.install)))}; usable: "
                f"{', '.join(self.availability().devices)}."
            )
        name = PROVIDERS[kind].name
        session_options = _session_options(options)
        providers = _choose(session_options, name, device, which)
        try:
            session = ort.InferenceSession(graph, session_options, providers=providers)
        except Exception as error:  # ONNX Runtime raises a family of unrelated types
            raise BundleError(
                f"ONNX Runtime cannot open '{graph}' on {name}: {_first_line(error)}; export "
                "it again or choose another device."
            ) from error
        used = session.get_providers()[0]
        if used != name:
            raise RuntimeUnavailableError(
                f"device '{device}' could not be initialised and ONNX Runtime fell back to {used}; "
                f"install the driver of {name} or pass device=cpu."
            )
        if not _takes_part(session, name):
            raise RuntimeUnavailableError(
                f"device '{device}' runs no operator of the {role} graph and ONNX Runtime would "
                "compute it on the CPU instead; pass device=cpu or choose another device."
            )
        return OnnxSession(session)


def _installed(provider: Provider) -> bool:
    return provider.name in ort.get_available_providers() or _has_plugin(provider)


def _has_plugin(provider: Provider) -> bool:
    return bool(provider.plugin) and find_spec(provider.plugin.partition(":")[0]) is not None


def _state(provider: Provider) -> Availability:
    """Whether a provider can be used here; never raises."""
    if provider.system not in ("", sys.platform):
        return Availability(reason=f"{provider.name} exists on {_SYSTEMS[provider.system]} only")
    reason = _register(provider) if _has_plugin(provider) else ""
    if provider.name in ort.get_available_providers():
        return Availability(devices=("any",))
    if reason:
        return Availability(reason=reason)
    return Availability(
        reason=f"ONNX Runtime is installed without {provider.name}",
        install=f"pip install {provider.package}",
    )


@lru_cache
def _register(provider: Provider) -> str:
    """Make an installed plugin known to ONNX Runtime, once in this process; the reason when it is
    of no use here.

    Not before it is asked for: a plugin brings libraries of its own, and those of the OpenVINO
    plugin get in the way of the package ``openvino``.
    """
    try:
        library = pkgutil.resolve_name(provider.plugin)()
        # Some plugins call themselves what they are registered as.
        ort.register_execution_provider_library(provider.name, library)
    except Exception as error:  # the package's own, the loader's, or an ONNX Runtime too old
        return f"the plugin of {provider.name} cannot be loaded ({_first_line(error)})"
    # Only a plugin that finds hardware offers devices.
    return "" if _devices(provider.name) else f"{provider.name} finds no hardware that it can use"


def _devices(provider: str) -> list[Any]:
    return [device for device in ort.get_ep_devices() if device.ep_name == provider]


def _choose(
    session_options: ort.SessionOptions, provider: str, device: str, which: str
) -> list[tuple[str, dict[str, Any]]]:
    """What to pass as providers; a plugin is put into ``session_options`` instead."""
    if provider == PROVIDERS["cpu"].name:
        # Grow the arena by what is needed: doubling it wastes up to half of the memory.
        return [(provider, {"arena_extend_strategy": "kSameAsRequested"})]
    found = _devices(provider) if hasattr(ort, "get_ep_devices") else []
    if not found:
        return [(provider, {"device_id": which} if which else {})]
    kinds = [hardware.device.type.name.lower() for hardware in found]
    chosen = [
        hardware
        for index, (kind, hardware) in enumerate(zip(kinds, found, strict=True))
        if which in ("", kind, str(index))
    ]
    if not chosen:
        raise RuntimeUnavailableError(
            f"device '{device}' is not there; {provider} finds {', '.join(kinds)}, counted from 0."
        )
    session_options.add_provider_for_devices(chosen[:1], {})
    return []


def _takes_part(session: ort.InferenceSession, provider: str) -> bool:
    """Whether any operator was given to the provider; ONNX Runtime gives the rest to the CPU."""
    if not hasattr(session, "get_provider_graph_assignment_info"):  # before ONNX Runtime 1.24
        return True
    return any(part.ep_name == provider for part in session.get_provider_graph_assignment_info())


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
        try:
            results = self._session.run(self._names, dict(feeds))
        except Exception as error:  # as when it is opened
            raise RuntimeUnavailableError(
                f"{self._provider} failed while it ran the graph: {_first_line(error)}; choose "
                "another device."
            ) from error
        return {name: np.asarray(result) for name, result in zip(self._names, results, strict=True)}

    def close(self) -> None:
        self._session = None


def _session_options(options: RuntimeOptions) -> ort.SessionOptions:
    options.refuse_all_but(
        "threads", "memory_arena", "graph_optimization", runtime=OnnxRuntime.name
    )
    if options.graph_optimization not in _OPTIMIZATION:
        raise InputError(
            f"graph_optimization='{options.graph_optimization}'; expected one of "
            f"{list(_OPTIMIZATION)}."
        )
    made = ort.SessionOptions()
    made.log_severity_level = 3  # errors only: warnings about folding are of no use to a user
    made.graph_optimization_level = _OPTIMIZATION[options.graph_optimization]
    made.enable_cpu_mem_arena = options.memory_arena
    # Planned buffers come on top of the arena that the first run filled: ViT-B's encoder peaks at
    # 2.5 GB with the plan and at 1.6 GB without, at the same speed.
    made.enable_mem_pattern = False
    made.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    # The graphs of a model take turns: threads that wait for the next run of one would spin on the
    # cores that the other needs.
    made.add_session_config_entry("session.force_spinning_stop", "1")
    if options.threads is not None:
        made.intra_op_num_threads = options.threads
    return made


def _spec(value: Any) -> TensorSpec:
    # A dynamic dimension without a name is None.
    shape = tuple(
        side if isinstance(side, int) else side or dimension(value.name, axis)
        for axis, side in enumerate(value.shape)
    )
    return TensorSpec(value.name, shape, _DTYPES.get(value.type, value.type))


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
