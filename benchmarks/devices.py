"""Devices that a model could run on, which of them are here, and why the others are not."""

from __future__ import annotations

from samdeploy.benchmarks.records import Device
from samdeploy.devices import DEVICES, base_name
from samdeploy.errors import InputError
from samdeploy.registry import RUNTIMES, availability, runtime_names
from samdeploy.session import Availability

#: The runtimes that could offer a device; of a device that is not here, ONNX Runtime alone, which
#: reaches more hardware than all others together.
_HOSTS = {
    "cpu": ("onnxruntime", "openvino", "torch", "coreml", "mil", "litert", "mnn", "executorch"),
    "cuda": ("onnxruntime", "torch", "tensorrt"),
    "mps": ("torch",),
    "all": ("coreml",),
    "npu": ("coreml", "openvino", "rknnlite"),
    "qnn": ("onnxruntime", "qnn"),
    "gpu": ("coreml", "openvino", "litert"),
    **dict.fromkeys(("opencl", "vulkan", "metal", "nnapi"), ("mnn",)),
}


def hosts_of(device: str) -> tuple[str, ...]:
    """The runtimes that could offer a device of :data:`DEVICES`."""
    return _HOSTS.get(device, ("onnxruntime",))


def runtime_states() -> dict[str, Availability]:
    """Every runtime that is known here, usable or not."""
    return {name: availability(RUNTIMES, name) for name in runtime_names()}


def detect_devices(states: dict[str, Availability]) -> tuple[Device, ...]:
    """All of :data:`DEVICES`, with the runtimes that offer each, or the reason why none does."""
    devices = []
    for name, kind in DEVICES.items():
        states_of = {host: states[host] for host in hosts_of(name) if host in states}
        offering = tuple(host for host, state in states_of.items() if name in state.devices)
        reasons = [why_not(host, state) for host, state in states_of.items()]
        missing = "; ".join(reasons) or "no runtime for it is installed"
        devices.append(Device(name, kind.meaning, offering, "" if offering else missing))
    return tuple(devices)


def why_not(runtime: str, state: Availability) -> str:
    """Why a runtime does not offer some device, in a few words."""
    if state.usable:
        return f"{runtime} offers {', '.join(state.devices)} here"
    return f"{runtime} is not usable here ({state.reason})"


def check_device(name: str) -> str:
    """``name``, with or without an index such as ``cuda:1``.

    Raises:
        InputError: it is no device that any runtime knows.
    """
    if base_name(name) not in DEVICES:
        raise InputError(f"device '{name}'; expected one or more of {', '.join(DEVICES)}.")
    return name
