"""TensorRT and TensorRT-RTX, on NVIDIA GPUs.

A session owns a stream and one device buffer per tensor, which grows to what is needed. An input
array that nobody may write to (the embedding of an image and what is prepared from it) is uploaded
once and stays on the GPU for as long as the same array is fed.
"""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from samdeploy.cuda_driver import Buffer, CapturedGraph, Device, Gpu, find_gpus
from samdeploy.errors import BundleError, InputError, RuntimeUnavailableError
from samdeploy.families import dimension, dynamic
from samdeploy.runtimes.tensorrt_library import INSTALL, Library, installed_libraries, logger
from samdeploy.runtimes.tensorrt_sidecar import check_sidecar, read_sidecar
from samdeploy.session import Array, Availability, RuntimeOptions, Session, TensorSpec


class TensorRtRuntime:
    name: ClassVar[str] = "tensorrt"
    suffixes: ClassVar[tuple[str, ...]] = (".engine",)
    Options: ClassVar[type[RuntimeOptions]] = RuntimeOptions

    @classmethod
    def availability(cls) -> Availability:
        libraries = installed_libraries()
        version = ", ".join(f"{library.title} {library.version}" for library in libraries)
        if not libraries:
            reason = "neither TensorRT nor TensorRT-RTX is installed"
            return Availability(reason=reason, install=INSTALL)
        gpus, reason = find_gpus()
        if not gpus:
            install = "install the driver of an NVIDIA GPU, or export format=onnx"
            return Availability(reason=reason, install=install, version=version)
        others = (f"cuda:{gpu.index}" for gpu in gpus[1:])
        return Availability(devices=("cuda", *others), version=version)

    def open(self, graph: Path, role: str, *, device: str, options: RuntimeOptions) -> Session:
        options.refuse_all_but("cache", runtime=self.name)
        gpu = _find_gpu(device)
        sidecar = read_sidecar(graph)
        library = _find_library(sidecar.library, graph)
        check_sidecar(graph, sidecar, library, gpu)
        return TensorRtSession(graph, library, gpu, sidecar.precision, options.cache)


def _find_gpu(device: str) -> Gpu:
    gpus, reason = find_gpus()
    found = {f"cuda:{gpu.index}": gpu for gpu in gpus}
    if gpus:
        found["cuda"] = gpus[0]
    if device not in found:
        raise RuntimeUnavailableError(
            f"device '{device}' is not usable by TensorRT here; "
            + (f"expected one of {sorted(found)}." if found else f"{reason}.")
        )
    return found[device]


def _find_library(name: str, engine: Path) -> Library:
    libraries = installed_libraries()
    for library in libraries:
        if library.name == name:
            return library
    raise BundleError(
        f"'{engine}' was built by {name} and installed are "
        f"{[library.name for library in libraries]}; install it or export the bundle again."
    )


class TensorRtSession:
    """``library`` opens the engine on ``gpu``; ``cache`` is a folder for compiled kernels.

    Safe for threads: calls take turns, since the stream, the buffers and the shapes are one.
    What it holds on the GPU is given back by :meth:`close`, or when the session is dropped.
    """

    def __init__(
        self, path: Path, library: Library, gpu: Gpu, precision: str, cache: Path | None
    ) -> None:
        self._provider = f"{library.title} {gpu.name} {precision}"
        self._lock = threading.Lock()
        self._device = Device(gpu.index)
        self._release = weakref.finalize(self, self._device.close)
        try:
            with self._device.active():
                self._open(path, library, cache)
        except BaseException:
            self._release()
            raise

    def _open(self, path: Path, library: Library, cache: Path | None) -> None:
        plan = _Plan(path, library, self._device)
        self.inputs, self.outputs = plan.inputs, plan.outputs
        ports = (*plan.inputs, *plan.outputs)
        self._buffers = {spec.name: Buffer(self._device) for spec in ports}
        file = None if cache is None else cache / f"{path.stem}-{plan.sha256[:16]}.kernels"
        self._profiles = [_Profile(plan, index, file) for index in range(plan.profile_count)]

    @property
    def provider(self) -> str:
        """Library, GPU and precision, such as ``TensorRT-RTX NVIDIA GeForce RTX 4090 fp16``."""
        return self._provider

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        with self._lock:
            if not self._release.alive:
                raise InputError("the session is closed; open the model again.")
            with self._device.active():
                return self._run_all(feeds)

    def close(self) -> None:
        with self._lock:
            self._release()

    def _run_all(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        needed: dict[str, int] = {}
        for spec in self.inputs:
            needed.update(zip(dynamic(spec.name), feeds[spec.name].shape, strict=False))
        profile = self._choose(needed)
        if "prompts" not in needed:
            return self._run(profile, feeds)
        step = profile.most["prompts"]
        parts = [
            self._run(profile, _rows(feeds, slice(start, start + step)))
            for start in range(0, needed["prompts"], step)
        ]
        if len(parts) == 1:
            return parts[0]
        return {s.name: np.concatenate([part[s.name] for part in parts]) for s in self.outputs}

    def _choose(self, needed: Mapping[str, int]) -> _Profile:
        """The first profile that takes all, or the largest, for several calls."""
        largest = self._profiles[-1]
        points = needed.get("points", 0)  # values are those that the scorer gave for its points
        if points > largest.most.get("points", 0):
            raise InputError(
                f"a prompt has {points} tokens (points, box corners, padding); this bundle takes "
                f"{largest.most['points']} at most, export it again with max_points={points}."
            )
        return next((profile for profile in self._profiles if profile.holds(needed)), largest)

    def _run(self, profile: _Profile, feeds: Mapping[str, Array]) -> dict[str, Array]:
        shapes = profile.shape({spec.name: feeds[spec.name].shape for spec in self.inputs})
        results = {s.name: np.empty(shapes[s.name], s.numpy_dtype) for s in self.outputs}
        fed = {spec.name: self._buffers[spec.name].upload(feeds[spec.name]) for spec in self.inputs}
        given = {name: self._buffers[name].reserve(array.nbytes) for name, array in results.items()}
        profile.execute({**fed, **given})
        for name, array in results.items():
            self._device.download(array, given[name])
        self._device.synchronize()
        return results


def _rows(feeds: Mapping[str, Array], rows: slice) -> dict[str, Array]:
    """The prompts of one call; what they share stays the same array."""
    return {
        name: array[rows] if "prompts" in dynamic(name) else array for name, array in feeds.items()
    }


class _Plan:
    """A deserialised engine, until its device is closed. Nobody else keeps a reference to what
    the library made: it must not outlive the device's context."""

    def __init__(self, path: Path, library: Library, device: Device) -> None:
        trt, self._log = library.trt, logger(library.trt)
        self.library, self.device = library, device
        content = path.read_bytes()
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.engine: Any = None
        self._runtime: Any = None
        device.held.callback(self._close)
        try:
            self._runtime = trt.Runtime(self._log)  # must outlive the engine
        except (
            TypeError,
            RuntimeError,
        ) as error:  # pybind11's for a constructor that gives nothing
            raise RuntimeUnavailableError(
                f"{library.title} does not start ({self._log.take()}); check that the NVIDIA "
                "driver is not older than it."
            ) from error
        self.engine = self._runtime.deserialize_cuda_engine(content)
        if self.engine is None:
            raise BundleError(
                f"{library.title} cannot open '{path}' ({self._log.take()}); export the bundle "
                "again."
            )
        names = [self.engine.get_tensor_name(i) for i in range(self.engine.num_io_tensors)]
        mode = self.engine.get_tensor_mode
        fed = [name for name in names if mode(name) == trt.TensorIOMode.INPUT]
        self.inputs = tuple(_spec(trt, self.engine, name) for name in fed)
        self.outputs = tuple(_spec(trt, self.engine, name) for name in names if name not in fed)
        self.profile_count = max(1, self.engine.num_optimization_profiles)

    def check(self, granted: object, what: str) -> None:
        """The library says by a return value that it refuses something.

        Raises:
            RuntimeUnavailableError: it did.
        """
        if not granted:
            raise RuntimeUnavailableError(
                f"{self.library.title} refused {what} ({self._log.take()}); check that the GPU has "
                "memory left, or export the bundle again."
            )

    def _close(self) -> None:
        self.engine = self._runtime = None


class _Profile:
    """One optimisation profile of an engine, with an execution context of its own.

    ``most`` is the largest number of each dynamic dimension.
    """

    def __init__(self, plan: _Plan, index: int, cache: Path | None) -> None:
        self._plan, self._device = plan, plan.device
        self._graph: CapturedGraph | None = None
        self._addresses: dict[str, int] = {}
        self._ran = False
        self._dynamic = [spec.name for spec in plan.inputs if dynamic(spec.name)]
        # A graph whose shapes never change can be recorded and launched as one.
        self._captures = not plan.library.captures_graphs and not self._dynamic
        self.most: dict[str, int] = {}
        for name in self._dynamic:
            largest = tuple(plan.engine.get_tensor_profile_shape(name, index)[2])
            self.most.update(zip(dynamic(name), largest, strict=False))
        self._context: Any = None
        self._store: Callable[[], None] | None = None
        self._device.held.callback(self._close)
        self._context, self._store = plan.library.create_context(plan.engine, cache)
        plan.check(self._context is not None, "an execution context")
        if index:
            stream = self._device.stream
            chosen = self._context.set_optimization_profile_async(index, stream)
            plan.check(chosen, f"optimisation profile {index}")
            self._device.synchronize()

    def holds(self, needed: Mapping[str, int]) -> bool:
        return all(count <= self.most[name] for name, count in needed.items())

    def shape(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """Set the shapes of the inputs; those of the outputs."""
        for name in self._dynamic:
            granted = self._context.set_input_shape(name, shapes[name])
            self._plan.check(granted, f"'{name}' of shape {list(shapes[name])}")
        found = {s.name: tuple(self._context.get_tensor_shape(s.name)) for s in self._plan.outputs}
        for name, shape in found.items():
            self._plan.check(min(shape, default=0) >= 0, f"to tell the shape of '{name}'")
        return found

    def execute(self, addresses: Mapping[str, int]) -> None:
        """Put one inference on the stream, with its tensors at these addresses."""
        for name, address in addresses.items():
            if self._addresses.get(name) != address:
                self._drop_graph()  # it has the old ones
                granted = self._context.set_tensor_address(name, address)
                self._plan.check(granted, f"the address of '{name}'")
                self._addresses[name] = address
        # The first inference also sets up what may not be recorded.
        if self._captures and self._ran and self._graph is None:
            try:
                self._graph = self._device.capture(self._enqueue)
            except RuntimeUnavailableError:
                self._captures = False  # not everything can be; it is as right without
        (self._enqueue if self._graph is None else self._graph.launch)()
        self._ran = True

    def _enqueue(self) -> None:
        granted = self._context.execute_async_v3(self._device.stream)
        self._plan.check(granted, "to start the inference")

    def _drop_graph(self) -> None:
        graph, self._graph = self._graph, None
        if graph is not None:
            graph.close()

    def _close(self) -> None:
        try:
            self._drop_graph()
        finally:
            self._context = None
            if self._ran and self._store is not None:
                self._store()


def _spec(trt: Any, engine: Any, name: str) -> TensorSpec:
    """Dynamic dimensions get their names from the contract."""
    shape = tuple(
        dimension(name, axis) if side < 0 else side
        for axis, side in enumerate(engine.get_tensor_shape(name))
    )
    dtype = np.dtype(trt.nptype(engine.get_tensor_dtype(name))).name
    return TensorSpec(name, shape, dtype)
