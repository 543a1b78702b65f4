"""TensorRT and TensorRT-RTX, on NVIDIA GPUs.

A session owns a stream and one device buffer per tensor, as large as the engine's profiles allow.
An input array that nobody may write to (the embedding of an image and what is prepared from it) is
uploaded once and stays on the GPU for as long as the same array is fed.
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from samdeploy.cuda_driver import CapturedGraph, Device, Gpu, find_gpus
from samdeploy.errors import BundleError, InputError, RuntimeUnavailableError
from samdeploy.graphs import DYNAMIC, dimension
from samdeploy.session import Array, Availability, RuntimeOptions, Session, TensorSpec
from samdeploy.tensorrt_library import INSTALL, Library, installed_libraries, logger
from samdeploy.tensorrt_sidecar import check_sidecar, read_sidecar


class TensorRtRuntime:
    name: ClassVar[str] = "tensorrt"
    suffixes: ClassVar[tuple[str, ...]] = (".engine",)

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
    """``library`` opens the engine on ``gpu``; ``cache`` is a folder for compiled kernels."""

    def __init__(
        self, path: Path, library: Library, gpu: Gpu, precision: str, cache: Path | None
    ) -> None:
        self._device: Device | None = Device(gpu.index)
        self._provider = f"{library.title} {gpu.name} {precision}"
        self._profiles: list[_Profile] = []
        self._buffers: dict[str, int] = {}
        self._resident: dict[str, weakref.ref[Array]] = {}
        try:
            self._open(path, library, cache)
        except BaseException:
            self.close()
            raise

    def _open(self, path: Path, library: Library, cache: Path | None) -> None:
        assert self._device is not None
        trt, log = library.trt, logger(library.trt)
        self._runtime = trt.Runtime(log)  # must outlive the engine
        content = path.read_bytes()
        engine = self._runtime.deserialize_cuda_engine(content)
        if engine is None:
            raise BundleError(
                f"{library.title} cannot open '{path}' ({log.take()}); export the bundle again."
            )
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        fed = [n for n in names if engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT]
        self.inputs = tuple(_spec(trt, engine, name) for name in fed)
        self.outputs = tuple(_spec(trt, engine, name) for name in names if name not in fed)
        file = None
        if cache is not None:
            file = cache / f"{path.stem}-{hashlib.sha256(content).hexdigest()[:16]}.kernels"
        for index in range(max(1, engine.num_optimization_profiles)):
            context, store = library.create_context(engine, file)
            self._profiles.append(
                _Profile(engine, context, store, index, self._device, self.inputs, log)
            )
        # The last profile is the one that holds most.
        for name, size in self._profiles[-1].sizes(self.inputs, self.outputs).items():
            self._buffers[name] = self._device.allocate(size)
        for profile in self._profiles:
            profile.use(self._buffers, capture=not library.captures_graphs)

    @property
    def provider(self) -> str:
        """Library, GPU and precision, such as ``TensorRT-RTX NVIDIA GeForce RTX 4090 fp16``."""
        return self._provider

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        if self._device is None:
            raise InputError("the session is closed; open the model again.")
        self._device.activate()
        needed: dict[str, int] = {}
        for spec in self.inputs:
            needed.update(zip(DYNAMIC[spec.name], feeds[spec.name].shape, strict=False))
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

    def close(self) -> None:
        if self._device is None:
            return
        self._device.activate()
        for profile in self._profiles:
            profile.close()
        self._profiles.clear()
        for pointer in self._buffers.values():
            self._device.free(pointer)
        self._runtime = None
        self._device.close()
        self._device = None

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
        assert self._device is not None
        for spec in self.inputs:
            self._upload(spec.name, feeds[spec.name])
        shapes = profile.execute({name: array.shape for name, array in feeds.items()}, self.outputs)
        results = {s.name: np.empty(shapes[s.name], s.numpy_dtype) for s in self.outputs}
        for name, array in results.items():
            self._device.download(array, self._buffers[name])
        self._device.synchronize()
        return results

    def _upload(self, name: str, array: Array) -> None:
        assert self._device is not None
        last = self._resident.get(name)
        if last is not None and last() is array:
            return
        self._resident.pop(name, None)
        self._device.upload(self._buffers[name], array)
        if not array.flags.writeable:
            self._resident[name] = weakref.ref(array)


def _rows(feeds: Mapping[str, Array], rows: slice) -> dict[str, Array]:
    """The prompts of one call; what they share stays the same array."""
    return {
        name: array[rows] if "prompts" in DYNAMIC[name] else array for name, array in feeds.items()
    }


class _Profile:
    """One optimisation profile of an engine, with an execution context of its own.

    ``most`` is the largest number of each dynamic dimension.
    """

    def __init__(
        self,
        engine: Any,
        context: Any,
        store: Callable[[], None] | None,
        index: int,
        device: Device,
        inputs: tuple[TensorSpec, ...],
        log: Any,
    ) -> None:
        self._context, self._store, self._device, self._log = context, store, device, log
        self._graph: CapturedGraph | None = None
        self._capture, self._warm = False, False
        self._dynamic = [spec.name for spec in inputs if DYNAMIC[spec.name]]
        self._largest = {
            name: tuple(engine.get_tensor_profile_shape(name, index)[2]) for name in self._dynamic
        }
        self.most: dict[str, int] = {}
        for name, shape in self._largest.items():
            self.most.update(zip(DYNAMIC[name], shape, strict=False))
        if index:
            context.set_optimization_profile_async(index, device.stream)
            device.synchronize()

    def holds(self, needed: Mapping[str, int]) -> bool:
        return all(count <= self.most[name] for name, count in needed.items())

    def sizes(
        self, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
    ) -> dict[str, int]:
        """Bytes of each tensor at its largest."""
        for name, shape in self._largest.items():
            self._context.set_input_shape(name, shape)
        return {
            spec.name: int(np.prod(tuple(self._context.get_tensor_shape(spec.name))))
            * spec.numpy_dtype.itemsize
            for spec in (*inputs, *outputs)
        }

    def use(self, buffers: Mapping[str, int], capture: bool) -> None:
        """Take the tensors from these addresses. With ``capture``, a graph whose shapes never
        change is recorded and launched as one."""
        for name, pointer in buffers.items():
            self._context.set_tensor_address(name, pointer)
        self._capture = capture and not self._dynamic

    def execute(
        self, shapes: Mapping[str, tuple[int, ...]], outputs: tuple[TensorSpec, ...]
    ) -> dict[str, tuple[int, ...]]:
        """Put one inference on the stream; the shapes of its outputs."""
        for name in self._dynamic:
            self._context.set_input_shape(name, shapes[name])
        if self._capture and self._warm and self._graph is None:
            self._graph = self._device.capture(self._enqueue)
        (self._enqueue if self._graph is None else self._graph.launch)()
        self._warm = True  # the first inference also sets up what may not be recorded
        return {s.name: tuple(self._context.get_tensor_shape(s.name)) for s in outputs}

    def close(self) -> None:
        if self._graph is not None:
            self._graph.close()
        if self._store is not None and self._warm:
            self._store()
        self._context = None

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._device.stream):
            raise RuntimeUnavailableError(
                f"the inference could not be started ({self._log.take()}); check that the GPU has "
                "memory left."
            )


def _spec(trt: Any, engine: Any, name: str) -> TensorSpec:
    """Dynamic dimensions get their names from the contract."""
    shape = tuple(
        dimension(name, axis) if side < 0 else side
        for axis, side in enumerate(engine.get_tensor_shape(name))
    )
    dtype = np.dtype(trt.nptype(engine.get_tensor_dtype(name))).name
    return TensorSpec(name, shape, dtype)
