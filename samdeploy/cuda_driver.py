"""NVIDIA GPUs through the driver's own library, by ctypes.

Every machine with a usable GPU has this library, and its functions keep their binary interface from
one CUDA version to the next: nothing has to be installed for it and no version has to match. Only
what a runtime needs is here: memory, copies, one stream, captured graphs.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from ctypes import byref, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from dataclasses import dataclass
from typing import Any

from samdeploy.errors import RuntimeUnavailableError
from samdeploy.session import Array

_NOT_FOUND = "no NVIDIA driver is found"

# Of the driver's header, cuda.h.
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
_STREAM_NON_BLOCKING = 1
_CAPTURE_THREAD_LOCAL = 1


@dataclass(frozen=True)
class Gpu:
    """``capability`` is the compute capability, such as ``8.6``."""

    index: int
    name: str
    capability: str


def load_driver() -> Any:
    """Raises :class:`RuntimeUnavailableError` when there is no driver or it does not start."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError as error:
        raise RuntimeUnavailableError(_NOT_FOUND) from error
    _check(driver, "cuInit", c_uint(0))
    return driver


def find_gpus() -> tuple[tuple[Gpu, ...], str]:
    """The GPUs of this machine, or the reason why there are none; never raises."""
    try:
        driver = load_driver()
        count = c_int()
        _check(driver, "cuDeviceGetCount", byref(count))
        found = tuple(_describe(driver, index) for index in range(count.value))
    except RuntimeUnavailableError as error:
        return (), str(error)
    return found, "" if found else "the NVIDIA driver finds no GPU"


def _describe(driver: Any, index: int) -> Gpu:
    device, name = c_int(), ctypes.create_string_buffer(256)
    _check(driver, "cuDeviceGet", byref(device), c_int(index))
    _check(driver, "cuDeviceGetName", name, c_int(len(name)), device)
    numbers = []
    for attribute in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR):
        number = c_int()
        _check(driver, "cuDeviceGetAttribute", byref(number), c_int(attribute), device)
        numbers.append(number.value)
    return Gpu(index, name.value.decode(errors="replace"), f"{numbers[0]}.{numbers[1]}")


class Device:
    """One GPU with a stream of its own, on which everything happens in order.

    Uses the primary context, the one that TensorRT works in as well.
    """

    def __init__(self, index: int) -> None:
        self._driver = load_driver()
        self._device, self._context, self._stream = c_int(), c_void_p(), c_void_p()
        self._call("cuDeviceGet", byref(self._device), c_int(index))
        self._call("cuDevicePrimaryCtxRetain", byref(self._context), self._device)
        self.activate()
        self._call("cuStreamCreate", byref(self._stream), c_uint(_STREAM_NON_BLOCKING))

    @property
    def stream(self) -> int:
        """The handle that other libraries take."""
        return self._stream.value or 0

    def activate(self) -> None:
        """Every thread that uses the device does this first."""
        self._call("cuCtxSetCurrent", self._context)

    def allocate(self, size: int) -> int:
        """Address of ``size`` bytes on the device."""
        pointer = c_uint64()
        self._call("cuMemAlloc_v2", byref(pointer), c_size_t(size))
        return pointer.value

    def free(self, pointer: int) -> None:
        self._call("cuMemFree_v2", c_uint64(pointer))

    def upload(self, pointer: int, array: Array) -> None:
        """Copy a contiguous array; it may be changed as soon as this returns."""
        self._call(
            "cuMemcpyHtoDAsync_v2",
            c_uint64(pointer), c_void_p(array.ctypes.data), c_size_t(array.nbytes), self._stream,
        )  # fmt: skip

    def download(self, array: Array, pointer: int) -> None:
        """Fill a contiguous array; valid after :meth:`synchronize`."""
        self._call(
            "cuMemcpyDtoHAsync_v2",
            c_void_p(array.ctypes.data), c_uint64(pointer), c_size_t(array.nbytes), self._stream,
        )  # fmt: skip

    def synchronize(self) -> None:
        self._call("cuStreamSynchronize", self._stream)

    def capture(self, work: Callable[[], None]) -> CapturedGraph:
        """Record what ``work`` puts on the stream, without running it."""
        graph = c_void_p()
        self._call("cuStreamBeginCapture_v2", self._stream, c_int(_CAPTURE_THREAD_LOCAL))
        try:
            work()
        finally:
            self._call("cuStreamEndCapture", self._stream, byref(graph))
        return CapturedGraph(self, graph)

    def close(self) -> None:
        """Twice is harmless; memory is freed before this, by whoever allocated it."""
        if self._stream:
            self.activate()
            self._call("cuStreamDestroy_v2", self._stream)
            self._call("cuDevicePrimaryCtxRelease_v2", self._device)
            self._stream = c_void_p()

    def _call(self, name: str, *arguments: Any) -> None:
        _check(self._driver, name, *arguments)


class CapturedGraph:
    """Work that was recorded once and is launched as one."""

    def __init__(self, device: Device, graph: c_void_p) -> None:
        self._device, self._runnable = device, c_void_p()
        device._call("cuGraphInstantiateWithFlags", byref(self._runnable), graph, c_uint64(0))
        device._call("cuGraphDestroy", graph)

    def launch(self) -> None:
        self._device._call("cuGraphLaunch", self._runnable, c_void_p(self._device.stream))

    def close(self) -> None:
        self._device._call("cuGraphExecDestroy", self._runnable)


def _check(driver: Any, name: str, *arguments: Any) -> None:
    code = getattr(driver, name)(*arguments)
    if code:
        text = c_char_p()
        driver.cuGetErrorString(c_int(code), byref(text))
        meaning = (text.value or b"unknown error").decode()
        raise RuntimeUnavailableError(
            f"the NVIDIA driver refused {name} with error {code} ({meaning}); check that the GPU "
            "has memory left and that the driver is not older than the CUDA libraries."
        )
