"""ONNX Runtime, on any execution provider that is installed.

The device that was asked for computes, or it is an error: ONNX Runtime would rather have the
processor do it. What an input holds that nobody can write to stays on the device.
"""

from __future__ import annotations

import io
import pkgutil
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import replace
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime as ort

from samdeploy.cuda_driver import find_gpus
from samdeploy.devices import base_name
from samdeploy.errors import BundleError, InputError, RuntimeUnavailableError
from samdeploy.families import dimension
from samdeploy.fixed_shapes import open_variants
from samdeploy.precision import FP32
from samdeploy.processor import usable_cores
from samdeploy.resident import Resident, freeze, is_frozen
from samdeploy.runtimes.onnx_providers import LEAST_SHARE, MOVING, PROVIDERS, Provider
from samdeploy.session import Array, Availability, RuntimeOptions, Session, TensorSpec

#: Decoder calls side by side: with a thread each they take a tenth less time than one after the
#: other on all threads (two cores, SAM 2.1). Every further one takes memory.
_MOST_STREAMS = 4

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
    Options: ClassVar[type[RuntimeOptions]] = RuntimeOptions

    @classmethod
    def availability(cls) -> Availability:
        installed = [device for device, provider in PROVIDERS.items() if _installed(provider)]
        # A provider that is installed may still lack its driver, so plain "auto" means CPU.
        return Availability(
            devices=("cpu", *(device for device in installed if device != "cpu")),
            version=ort.__version__,
            lower=lambda device: [
                name for name in PROVIDERS[base_name(device)].arithmetic if name != FP32
            ],
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
        provider = PROVIDERS[kind]
        state = _state(provider)
        if state.usable:
            state = _numbered(provider, which) or state
        if not state.usable:
            raise RuntimeUnavailableError(
                f"device '{device}' is not usable by ONNX Runtime here: "
                f"{'; '.join(filter(None, (state.reason, state.install)))}; usable: "
                f"{', '.join(self.availability().devices)}."
            )
        return open_variants(
            graph, lambda path: _open(path, role, provider, device, which, options)
        )


def _open(
    graph: Path, role: str, provider: Provider, device: str, which: str, options: RuntimeOptions
) -> Session:
    session_options = _session_options(options)
    arithmetic, settings = _arithmetic(provider, device, options.precision)
    missing = _load_cuda() if provider.nvidia else ""
    providers = _choose(session_options, provider, device, which, settings)
    name = provider.name
    try:
        session = ort.InferenceSession(
            graph, session_options, providers=providers, enable_fallback=0
        )
    except Exception as error:  # ONNX Runtime raises a family of unrelated types
        raise BundleError(
            f"ONNX Runtime cannot open '{graph}' on {name}: {_first_line(error)}; export "
            "it again or choose another device."
        ) from error
    used = session.get_providers()[0]
    if used != name:
        raise RuntimeUnavailableError(
            f"device '{device}' could not be initialised and ONNX Runtime fell back to {used}; "
            f"install the driver of {name} or pass device=cpu{missing and f' ({missing})'}."
        )
    if provider is PROVIDERS["cpu"]:
        streams, threads = _shares(options.threads)
        own = replace(options, threads=threads)
        again = partial(_open, graph, role, provider, device, which, own)
        return OnnxSession(session, name, streams=streams, again=again)
    description = f"{name} {arithmetic}, {_share(session, name, device, role)}"
    memory = _memory(provider, int(which) if which.isdecimal() else 0)
    return OnnxSession(session, description, memory)


def _shares(threads: int | None) -> tuple[int, int]:
    """How many calls are best made side by side, and the threads of each."""
    threads = threads or usable_cores()
    streams = min(threads, _MOST_STREAMS)
    return streams, threads // streams


def _numbered(provider: Provider, which: str) -> Availability | None:
    """Why there is no device of that number, as far as that can be known before it is opened."""
    if which and provider is PROVIDERS["cpu"]:
        return Availability(reason="processors are not numbered, write cpu")
    gpus = find_gpus()[0] if which and provider.nvidia else ()
    if gpus and which not in [str(gpu.index) for gpu in gpus]:
        found = ", ".join(f"{gpu.index} ({gpu.name})" for gpu in gpus)
        return Availability(reason=f"the NVIDIA driver finds {found}")
    return None


def _installed(provider: Provider) -> bool:
    return provider.name in ort.get_available_providers() or _has_plugin(provider)


def _has_plugin(provider: Provider) -> bool:
    return bool(provider.plugin) and find_spec(provider.plugin.partition(":")[0]) is not None


def _state(provider: Provider) -> Availability:
    """Whether a provider can be used here; never raises."""
    if provider.system not in ("", sys.platform):
        return Availability(reason=f"{provider.name} exists on {_SYSTEMS[provider.system]} only")
    plugged = _has_plugin(provider)
    reason = register_plugin(provider) if plugged else ""
    if plugged and not _load_plugin(provider.name, provider.plugin):
        # It offers devices or has none, whether or not ONNX Runtime lists it as available.
        return Availability(reason=reason) if reason else Availability(devices=("any",))
    if provider.name in ort.get_available_providers():
        return Availability(devices=("any",))
    if reason:
        return Availability(reason=reason)
    return Availability(
        reason=f"ONNX Runtime is installed without {provider.name}",
        install=f"pip install {provider.package}",
    )


def register_plugin(provider: Provider) -> str:
    """Make an installed plugin known to ONNX Runtime; the reason when it is of no use here.

    Not before it is asked for: a plugin brings libraries of its own, and those of the OpenVINO
    plugin get in the way of the package ``openvino``.
    """
    reason = _load_plugin(provider.name, provider.plugin)
    # Only a plugin that finds hardware offers devices.
    if reason or plugin_devices(provider):
        return reason
    return f"{provider.name} finds no hardware that it can use"


@cache
def _load_plugin(name: str, plugin: str) -> str:
    """Once in this process; the reason when it fails."""
    try:
        # Some plugins call themselves what they are registered as.
        ort.register_execution_provider_library(name, pkgutil.resolve_name(plugin)())
    except Exception as error:  # the package's own, the loader's, or an ONNX Runtime too old
        # Somebody else in this process may have registered it before.
        if not any(device.ep_name == name for device in ort.get_ep_devices()):
            return f"the plugin of {name} cannot be loaded ({_first_line(error)})"
    return ""


def plugin_devices(provider: Provider) -> list[Any]:
    """What a registered plugin can compute on."""
    return [
        device
        for device in ort.get_ep_devices()
        if device.ep_name == provider.name and provider.hardware in ("", device.device.type.name)
    ]


def _arithmetic(
    provider: Provider, device: str, wanted: str | None
) -> tuple[str, Mapping[str, str]]:
    """The arithmetic that a provider will compute in, and the options that ask for it."""
    known = provider.arithmetic
    wanted = next(iter(known)) if wanted is None else wanted
    if wanted not in known:
        raise InputError(
            f"precision={wanted}; device '{device}' of ONNX Runtime computes in "
            f"{' or '.join(known)}: pass that or choose another device."
        )
    return wanted, known[wanted]


@cache
def _load_cuda() -> str:
    """Load the CUDA libraries that are installed as packages, as torch does where it is imported;
    what ONNX Runtime says of those that are missing."""
    torch = sys.modules.get("torch")
    if not hasattr(ort, "preload_dlls") or (torch is not None and torch.version.cuda):
        return ""
    with redirect_stdout(io.StringIO()) as said:
        ort.preload_dlls()
    return " ".join(said.getvalue().split())


def _choose(
    session_options: ort.SessionOptions,
    provider: Provider,
    device: str,
    which: str,
    settings: Mapping[str, str],
) -> list[tuple[str, dict[str, Any]]]:
    """Providers to pass; a plugin is put into ``session_options`` instead."""
    if provider is PROVIDERS["cpu"]:
        # Grow the arena by what is needed: doubling it wastes up to half of the memory.
        return [(provider.name, {"arena_extend_strategy": "kSameAsRequested"})]
    found = plugin_devices(provider) if hasattr(ort, "get_ep_devices") else []
    if not found:
        return [(provider.name, {**settings, **({"device_id": which} if which else {})})]
    kinds = [hardware.device.type.name.lower() for hardware in found]
    chosen = [
        hardware
        for index, (kind, hardware) in enumerate(zip(kinds, found, strict=True))
        if which in ("", kind, str(index))
    ]
    if not chosen:
        raise RuntimeUnavailableError(
            f"device '{device}' is not there; {provider.name} finds {', '.join(kinds)}, counted "
            "from 0."
        )
    session_options.add_provider_for_devices(chosen[:1], dict(settings))
    return []


def _share(session: ort.InferenceSession, provider: str, device: str, role: str) -> str:
    """How much of a graph was given to the provider, in words; the processor does the rest.

    Raises:
        RuntimeUnavailableError: less than :data:`LEAST_SHARE` of what computes.
    """
    if not hasattr(session, "get_provider_graph_assignment_info"):  # before ONNX Runtime 1.24
        return "share of operators unknown"
    every: Counter[str] = Counter()
    computing: Counter[str] = Counter()
    for part in session.get_provider_graph_assignment_info():
        for node in part.get_nodes():
            every[part.ep_name] += 1
            computing[part.ep_name] += node.op_type not in MOVING
    of_all, of_work = (
        counts[provider] / total if (total := sum(counts.values())) else 1.0
        for counts in (every, computing)
    )
    if of_work < LEAST_SHARE:
        raise RuntimeUnavailableError(
            f"device '{device}' runs {of_work:.0%} of the operators of the {role} graph that "
            f"compute, and ONNX Runtime would leave the rest to the CPU; {LEAST_SHARE:.0%} is the "
            "least, pass device=cpu or choose another device."
        )
    # Rounded down: all is only what is all.
    return f"{int(100 * of_all)}% of operators, {int(100 * of_work)}% of those that compute"


def _memory(provider: Provider, index: int) -> Resident[Any] | None:
    """Arrays on the provider's device; ``None`` where ONNX Runtime has no way to put them there,
    and copies them with every call."""

    def put(array: Array) -> Any:
        if not is_frozen(array):
            return array
        return ort.OrtValue.ortvalue_from_numpy(array, provider.memory, index)

    if not provider.memory:
        return None
    try:
        put(freeze(np.zeros(1, np.float32)))
    except Exception:  # a plugin's memory is not known to every build
        return None
    return Resident(put)


class OnnxSession:
    """``memory`` holds on the device what stays the same from one call to the next; ``again`` opens
    the graph for ``streams`` calls side by side."""

    def __init__(
        self,
        session: ort.InferenceSession,
        provider: str,
        memory: Resident[Any] | None = None,
        streams: int = 1,
        again: Callable[[], Session] | None = None,
    ) -> None:
        self.streams, self._again = streams, again
        self._session: ort.InferenceSession | None = session
        self._memory = memory
        self.inputs = tuple(_spec(value) for value in session.get_inputs())
        self.outputs = tuple(_spec(value) for value in session.get_outputs())
        self._names = [spec.name for spec in self.outputs]
        self._provider = provider

    @property
    def provider(self) -> str:
        """Such as ``CUDAExecutionProvider fp32, 98% of operators, 100% of those that compute``; the
        processor's computes everything in float32 and is only named."""
        return self._provider

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        session, memory = self._session, self._memory
        if session is None:
            raise InputError("the session is closed; open the model again.")
        try:
            fed = {
                k: array if memory is None else memory.get(k, array) for k, array in feeds.items()
            }
            results = session.run(self._names, fed)
        except Exception as error:  # as when it is opened
            raise RuntimeUnavailableError(
                f"{self._provider} failed while it ran the graph: {_first_line(error)}; choose "
                "another device."
            ) from error
        return {name: np.asarray(result) for name, result in zip(self._names, results, strict=True)}

    def divided(self) -> Session:
        if self._again is None:
            raise InputError("the session is closed; open the model again.")
        return self._again()

    def close(self) -> None:
        self._session = self._memory = self._again = None


def _session_options(options: RuntimeOptions) -> ort.SessionOptions:
    options.refuse_all_but(
        "threads", "memory_arena", "graph_optimization", "precision", runtime=OnnxRuntime.name
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
