"""NVIDIA GPUs through the driver's own library, by ctypes.

Every machine with a usable GPU has this library, and its functions keep their binary interface from
one CUDA version to the next: nothing has to be installed for it and no version has to match. Only
what a runtime needs is here: memory, copies, one stream, captured graphs.
"""

from __future__ import annotations

import ctypes
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from ctypes import byref, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from dataclasses import dataclass
from typing import Any

from samdeploy.errors import RuntimeUnavailableError
from samdeploy.resident import is_frozen
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

    Uses the primary context, the one that TensorRT and torch work in as well. Everything but
    :meth:`close` is called inside :meth:`active`. ``held`` gives back what lives on the device,
    last first, when the device is closed.
    """

    def __init__(self, index: int) -> None:
        self._driver = load_driver()
        self._device, self._context, self._stream = c_int(), c_void_p(), c_void_p()
        self.held = ExitStack()
        self._call("cuDeviceGet", byref(self._device), c_int(index))
        self._call("cuDevicePrimaryCtxRetain", byref(self._context), self._device)
        try:
            with self.active():
                self._call("cuStreamCreate", byref(self._stream), c_uint(_STREAM_NON_BLOCKING))
        except BaseException:
            self._call("cuDevicePrimaryCtxRelease_v2", self._device)
            raise

    @property
    def stream(self) -> int:
        """The handle that other libraries take."""
        return self._stream.value or 0

    @contextmanager
    def active(self) -> Iterator[None]:
        """The device as the one that this thread works on. Afterwards it is again the one that it
        was before, which may be another library's."""
        self._call("cuCtxPushCurrent_v2", self._context)
        try:
            yield
        finally:
            self._call("cuCtxPopCurrent_v2", byref(c_void_p()))

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
        """Record what ``work`` puts on the stream, without running it.

        Raises:
            RuntimeUnavailableError: it cannot be recorded; the stream is as it was before.
        """
        graph = c_void_p()
        self._call("cuStreamBeginCapture_v2", self._stream, c_int(_CAPTURE_THREAD_LOCAL))
        try:
            work()
        except BaseException:
            # Whatever this says, the recording is over.
            self._driver.cuStreamEndCapture(self._stream, byref(graph))
            if graph:
                self._driver.cuGraphDestroy(graph)
            raise
        self._call("cuStreamEndCapture", self._stream, byref(graph))
        return CapturedGraph(self, graph)

    def close(self) -> None:
        """Twice is harmless. What fails does not keep the rest from being given back."""
        if self._stream:
            stream, self._stream = self._stream, c_void_p()
            with ExitStack() as last_first:
                last_first.callback(self._call, "cuDevicePrimaryCtxRelease_v2", self._device)
                last_first.enter_context(self.active())
                last_first.callback(self._call, "cuStreamDestroy_v2", stream)
                last_first.callback(self.held.close)

    def _call(self, name: str, *arguments: Any) -> None:
        _check(self._driver, name, *arguments)


class Buffer:
    """Memory of one tensor, as large as was needed so far; freed with its device."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._pointer, self._size = 0, 0
        self._content: weakref.ref[Array] | None = None
        device.held.callback(self._free)

    def reserve(self, size: int) -> int:
        """Address of at least ``size`` bytes; what was there before may be gone."""
        if size > self._size:
            self._free()
            self._pointer = self._device.allocate(size)
            self._size = size
        return self._pointer

    def upload(self, array: Array) -> int:
        """Address of a contiguous array's content, which is not copied again while it is here."""
        last, self._content = self._content, None
        pointer = self.reserve(array.nbytes)
        frozen = is_frozen(array)
        if not frozen or last is None or last() is not array:
            self._device.upload(pointer, array)
        self._content = weakref.ref(array) if frozen else None
        return pointer

    def _free(self) -> None:
        pointer, self._pointer, self._size = self._pointer, 0, 0
        if pointer:
            self._device.free(pointer)


class CapturedGraph:
    """Work that was recorded once and is launched as one."""

    def __init__(self, device: Device, graph: c_void_p) -> None:
        self._device, self._runnable = device, c_void_p()
        try:
            device._call("cuGraphInstantiateWithFlags", byref(self._runnable), graph, c_uint64(0))
        finally:
            device._call("cuGraphDestroy", graph)

    def launch(self) -> None:
        self._device._call("cuGraphLaunch", self._runnable, c_void_p(self._device.stream))

    def close(self) -> None:
        self._device._call("cuGraphExecDestroy", self._runnable)


def _check(driver: Any, name: str, *arguments: Any) -> None:
    try:
        code = getattr(driver, name)(*arguments)
    except AttributeError as error:
        raise RuntimeUnavailableError(f"the NVIDIA driver is too old: it has no {name}") from error
    if code:
        text = c_char_p()
        driver.cuGetErrorString(c_int(code), byref(text))
        meaning = (text.value or b"unknown error").decode()
        raise RuntimeUnavailableError(
            f"the NVIDIA driver refused {name} with error {code} ({meaning}); check that the GPU "
            "has memory left and that the driver is not older than the CUDA libraries."
        )
