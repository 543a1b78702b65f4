"""A GPU in host memory, and both TensorRT libraries on it, for machines that have neither.

The driver's functions are emulated at their C interface and an engine is an ONNX graph that ONNX
Runtime runs, reading and writing its tensors at the addresses that it was given. So everything that
our runtime does is exercised; what NVIDIA's libraries do is not.
"""

from __future__ import annotations

import ctypes
import json
import math
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import onnxruntime as ort
import pytest

import samdeploy.cuda_driver as cuda_driver
import samdeploy.runtimes.tensorrt_library as tensorrt_library
from samdeploy.families import dynamic
from samdeploy.graphs import SCORER, numbers
from samdeploy.runtimes.tensorrt_library import TensorRt, TensorRtRtx
from samdeploy.runtimes.tensorrt_sidecar import Sidecar, write_sidecar

Work = Callable[[], None]


#: Handles that the driver gives: its primary context, and a stream.
CONTEXT, STREAM = 4242, 77
#: Functions that need no context.
_ANYWHERE = (
    "cuGetErrorString", "cuDeviceGet", "cuDeviceGetCount", "cuDeviceGetName",
    "cuDeviceGetAttribute", "cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRelease_v2",
    "cuCtxPushCurrent_v2", "cuCtxPopCurrent_v2",
)  # fmt: skip


class Driver:
    """Functions of ``cuda.h`` as ctypes calls them.

    Attributes:
        calls: how often each was called.
        fail: error codes that functions give instead of doing anything, by name.
        memory: what is allocated, by address.
        retained: users of the primary context; ``streams`` that are open.
        graphs, executables: what was recorded, and what can be launched of it.
        alive: what the libraries made and was not dropped.
        reserved: bytes that execution contexts reserve beside the tensors.
    """

    def __init__(self, name: str = "Emulated GPU", capability: tuple[int, int] = (8, 6)) -> None:
        self.name, self.capability = name, capability
        self.calls: Counter[str] = Counter()
        self.fail: dict[str, int] = {}
        self.memory: dict[int, Any] = {}
        self.limit = 1 << 33
        self.retained = self.streams = self.reserved = 0
        self.alive: weakref.WeakSet[Any] = weakref.WeakSet()
        self.graphs: dict[int, list[Work]] = {}
        self.executables: dict[int, list[Work]] = {}
        self._capturing: list[Work] | None = None
        self._threads = threading.local()

    @property
    def current(self) -> list[int]:
        """The contexts of this thread, the last of which is current."""
        if not hasattr(self._threads, "stack"):
            self._threads.stack = []
        stack: list[int] = self._threads.stack
        return stack

    @property
    def held(self) -> dict[str, int]:
        """What was taken and not given back."""
        counts = {
            "buffers": len(self.memory), "streams": self.streams, "contexts": self.retained,
            "graphs": len(self.graphs) + len(self.executables), "objects": len(self.alive),
            "reserved": self.reserved,
        }  # fmt: skip
        return {name: count for name, count in counts.items() if count}

    def __getattr__(self, name: str) -> Callable[..., int]:
        if not name.startswith("cu"):
            raise AttributeError(name)
        function = getattr(type(self), f"_{name}", None)

        def call(*arguments: Any) -> int:
            self.calls[name] += 1
            if name in self.fail:
                if name == "cuStreamEndCapture":
                    self._capturing = None  # it ends all the same
                return self.fail[name]
            if name not in _ANYWHERE and self.current[-1:] != [CONTEXT]:
                return 201  # no such context is current
            return 0 if function is None else function(self, *arguments) or 0

        return call

    def _cuDevicePrimaryCtxRetain(self, context: Any, device: Any) -> None:  # noqa: N802
        context._obj.value = CONTEXT
        self.retained += 1

    def _cuDevicePrimaryCtxRelease_v2(self, device: Any) -> None:  # noqa: N802
        self.retained -= 1

    def _cuCtxPushCurrent_v2(self, context: Any) -> None:  # noqa: N802
        self.current.append(context.value)

    def _cuCtxPopCurrent_v2(self, context: Any) -> None:  # noqa: N802
        context._obj.value = self.current.pop()

    def enqueue(self, work: Work) -> None:
        """Do it now, or record it while a graph is captured."""
        if self._capturing is None:
            work()
        else:
            self._capturing.append(work)

    def _cuGetErrorString(self, code: Any, text: Any) -> None:  # noqa: N802
        text._obj.value = b"out of memory" if code.value == 2 else b"some error"

    def _cuDeviceGetCount(self, count: Any) -> None:  # noqa: N802
        count._obj.value = 1

    def _cuDeviceGetName(self, buffer: Any, size: Any, device: Any) -> None:  # noqa: N802
        buffer.value = self.name.encode()

    def _cuDeviceGetAttribute(self, number: Any, attribute: Any, device: Any) -> None:  # noqa: N802
        number._obj.value = self.capability[attribute.value - 75]

    def _cuStreamCreate(self, stream: Any, flags: Any) -> None:  # noqa: N802
        stream._obj.value = STREAM
        self.streams += 1

    def _cuStreamDestroy_v2(self, stream: Any) -> None:  # noqa: N802
        assert stream.value == STREAM
        self.streams -= 1

    def _cuMemAlloc_v2(self, pointer: Any, size: Any) -> int:  # noqa: N802
        if size.value > self.limit:
            return 2
        block = ctypes.create_string_buffer(size.value)
        pointer._obj.value = ctypes.addressof(block)
        self.memory[pointer._obj.value] = block
        return 0

    def _cuMemFree_v2(self, pointer: Any) -> None:  # noqa: N802
        del self.memory[pointer.value]

    def _cuMemcpyHtoDAsync_v2(self, to: Any, source: Any, size: Any, stream: Any) -> None:  # noqa: N802
        assert size.value <= len(self.memory[to.value])
        ctypes.memmove(to.value, source.value, size.value)

    def _cuMemcpyDtoHAsync_v2(self, to: Any, source: Any, size: Any, stream: Any) -> None:  # noqa: N802
        assert size.value <= len(self.memory[source.value])
        ctypes.memmove(to.value, source.value, size.value)

    def _cuStreamBeginCapture_v2(self, stream: Any, mode: Any) -> None:  # noqa: N802
        self._capturing = []

    def _cuStreamEndCapture(self, stream: Any, graph: Any) -> None:  # noqa: N802
        assert self._capturing is not None
        graph._obj.value = self.calls["cuStreamEndCapture"]
        self.graphs[graph._obj.value], self._capturing = self._capturing, None

    def _cuGraphDestroy(self, graph: Any) -> None:  # noqa: N802
        del self.graphs[graph.value]

    def _cuGraphInstantiateWithFlags(self, made: Any, graph: Any, flags: Any) -> None:  # noqa: N802
        made._obj.value = graph.value
        self.executables[graph.value] = self.graphs[graph.value]

    def _cuGraphExecDestroy(self, graph: Any) -> None:  # noqa: N802
        del self.executables[graph.value]

    def _cuGraphLaunch(self, graph: Any, stream: Any) -> None:  # noqa: N802
        for work in self.executables[graph.value]:
            work()


class Engine:
    """An ONNX graph with the interface of ``ICudaEngine``, as far as we use it.

    ``refuse`` names methods of its contexts that say no.
    """

    refuse: ClassVar[set[str]] = set()

    def __init__(self, driver: Driver, content: bytes) -> None:
        self.driver, facts = driver, json.loads(content)
        assert driver.current[-1:] == [CONTEXT]
        driver.alive.add(self)
        self.session = ort.InferenceSession(facts["onnx"], providers=["CPUExecutionProvider"])
        self.profiles: list[dict[str, list[list[int]]]] = facts["profiles"]
        self.ports = {p.name: p for p in (*self.session.get_inputs(), *self.session.get_outputs())}
        self.fed = [p.name for p in self.session.get_inputs()]
        self.num_io_tensors = len(self.ports)
        self.num_optimization_profiles = max(1, len(self.profiles))

    def get_tensor_name(self, index: int) -> str:
        return list(self.ports)[index]

    def get_tensor_mode(self, name: str) -> str:
        return "INPUT" if name in self.fed else "OUTPUT"

    def get_tensor_dtype(self, name: str) -> str:
        return "FLOAT"

    def get_tensor_shape(self, name: str) -> list[int]:
        return [side if isinstance(side, int) else -1 for side in self.ports[name].shape]

    def get_tensor_profile_shape(self, name: str, index: int) -> list[list[int]]:
        return self.profiles[index][name]

    def create_runtime_config(self) -> SimpleNamespace:
        config = SimpleNamespace(cuda_graph_strategy="DISABLED", kernels=None)
        config.create_runtime_cache = RuntimeCache
        config.set_runtime_cache = lambda kernels: not setattr(config, "kernels", kernels)
        return config

    def create_execution_context(self, given: SimpleNamespace | str = "STATIC") -> Context | None:
        """``given`` is the allocation strategy of TensorRT or the configuration of RTX."""
        if "create_execution_context" in self.refuse:
            return None
        if isinstance(given, str):
            return Context(self, None, given)
        assert given.cuda_graph_strategy == "WHOLE_GRAPH_CAPTURE"
        return Context(self, given.kernels, "STATIC")

    def memory_of(self, profile: int) -> int:
        """Bytes that a context needs for it: as many as its inputs have at their largest."""
        largest = [shapes[2] for shapes in self.profiles[profile].values()] if self.profiles else []
        return sum(4 * math.prod(shape) for shape in largest)


class RuntimeCache:
    fail: ClassVar[Exception | None] = None

    def __init__(self) -> None:
        self.content = b""

    def deserialize(self, content: bytes) -> bool:
        self.content = content
        return True

    def serialize(self) -> bytes:
        if self.fail is not None:
            raise self.fail
        return self.content


class Context:
    def __init__(self, engine: Engine, kernels: RuntimeCache | None, strategy: str) -> None:
        self.engine, self.kernels, self.profile = engine, kernels, 0
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self._for_all, self._reserved = strategy == "STATIC", 0
        self._set_reserved()
        engine.driver.alive.add(self)

    def __del__(self) -> None:
        driver = self.engine.driver
        driver.reserved -= self._reserved
        assert driver.retained, "a context that outlives the device's"
        assert driver.current[-1:] == [CONTEXT], "no context is current"

    def _set_reserved(self) -> None:
        sizes = [self.engine.memory_of(i) for i in range(self.engine.num_optimization_profiles)]
        self.engine.driver.reserved -= self._reserved
        self._reserved = max(sizes) if self._for_all else sizes[self.profile]
        self.engine.driver.reserved += self._reserved

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        if "set_optimization_profile_async" in self.engine.refuse:
            return False
        self.profile = index
        self._set_reserved()
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        if "set_input_shape" in self.engine.refuse:
            return False
        least, _, most = self.engine.profiles[self.profile][name]
        assert all(a <= b <= c for a, b, c in zip(least, shape, most, strict=True)), (name, shape)
        self.shapes[name] = tuple(shape)
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        if "set_tensor_address" in self.engine.refuse:
            return False
        self.addresses[name] = address
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        ports, known = self.engine.ports, {}
        for fed, shape in self.shapes.items():
            known.update(zip(ports[fed].shape, shape, strict=True))
        # Dimensions of outputs that follow from those of inputs.
        if "rows" in known:
            known |= {"height": 4 * known["rows"], "width": 4 * known["columns"]}
        if "image_keys" in ports and "points" in known:
            known |= numbers(known["prompts"], known["points"], **_sides(ports["image_keys"]))
        return tuple(known.get(side, side) for side in ports[name].shape)

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == STREAM
        if "execute_async_v3" in self.engine.refuse:
            return False
        shapes = {name: self.get_tensor_shape(name) for name in self.engine.ports}
        self.engine.driver.enqueue(lambda: self._execute(shapes))
        return True

    def _execute(self, shapes: dict[str, tuple[int, ...]]) -> None:
        feeds = {name: self._view(name, shapes[name]) for name in self.engine.fed}
        for port, values in zip(
            self.engine.session.get_outputs(), self.engine.session.run(None, feeds), strict=True
        ):
            self._view(port.name, shapes[port.name])[...] = values
        if self.kernels is not None:
            self.kernels.content = b"compiled kernels"

    def _view(self, name: str, shape: tuple[int, ...]) -> Any:
        size = int(np.prod(shape))
        assert 4 * size <= len(self.engine.driver.memory[self.addresses[name]])
        block = (ctypes.c_float * size).from_address(self.addresses[name])
        return np.frombuffer(block, np.float32).reshape(shape)


def _module(driver: Driver) -> SimpleNamespace:
    class ILogger:
        Severity = SimpleNamespace(ERROR="ERROR", INTERNAL_ERROR="INTERNAL_ERROR")

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def deserialize_cuda_engine(self, content: bytes) -> Engine | None:
            if not content.startswith(b"{"):
                self.logger.log("ERROR", "the magic tag\ndoes not match")
                return None
            return Engine(driver, content)

    return SimpleNamespace(
        __version__="11.0",
        ILogger=ILogger,
        Runtime=Runtime,
        TensorIOMode=SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT"),
        ExecutionContextAllocationStrategy=SimpleNamespace(
            STATIC="STATIC", ON_PROFILE_CHANGE="ON_PROFILE_CHANGE"
        ),
        CudaGraphStrategy=SimpleNamespace(WHOLE_GRAPH_CAPTURE="WHOLE_GRAPH_CAPTURE"),
        nptype=lambda dtype: {"FLOAT": np.float32}[dtype],
    )


class Emulation:
    """Puts the GPU and both libraries in place for as long as the block lasts."""

    version: ClassVar[str] = "11.0"

    def __init__(self, patch: pytest.MonkeyPatch, driver: Driver | None = None) -> None:
        self.driver = driver or Driver()
        module = HashableNamespace(**vars(_module(self.driver)))

        class EmulatedTensorRt(TensorRt):
            @classmethod
            def _import(cls) -> Any:
                return module

        class EmulatedRtx(TensorRtRtx):
            @classmethod
            def _import(cls) -> Any:
                return module

        patch.setattr(cuda_driver, "load_driver", lambda: self.driver)
        patch.setattr(tensorrt_library, "LIBRARIES", (EmulatedTensorRt, EmulatedRtx))

    def write_engines(
        self, graphs: dict[str, Path], folder: Path, *, library: str, most: int, points: int = 16
    ) -> dict[str, Path]:
        """Engines of ONNX graphs, with profiles as that library gets them."""
        made = {lib.name: lib for lib in tensorrt_library.LIBRARIES}[library]()
        ports = {role: _ports(path) for role, path in graphs.items()}
        sides = _sides(next(port for port in ports[SCORER] if port.name == "image_keys"))
        ranges = [
            [numbers(*n, **sides) for n in zip(prompts, (1, 2, points), strict=True)]
            for prompts in made.prompt_profiles(most)
        ]
        for least, *_ in ranges:
            least |= dict.fromkeys(("positions", "rows", "columns"), 1)
        engines = {}
        for role, onnx_path in graphs.items():
            profiles = _profiles(ports[role], ranges)
            engines[role] = folder / f"{role}.engine"
            engines[role].write_text(json.dumps({"onnx": str(onnx_path), "profiles": profiles}))
            write_sidecar(
                engines[role],
                Sidecar(library, self.version, ("8.6",), "any", "", "fp32", {}, ()),
            )
        return engines


class HashableNamespace(SimpleNamespace):
    __hash__ = object.__hash__


def _ports(onnx_path: Path) -> list[Any]:
    return list(ort.InferenceSession(onnx_path, providers=["CPUExecutionProvider"]).get_inputs())


def _sides(image_keys: Any) -> dict[str, int]:
    _, heads, _, tokens = image_keys.shape
    return {"grid": math.isqrt(tokens), "heads": heads}


def _profiles(
    ports: list[Any], ranges: list[list[dict[str, int]]]
) -> list[dict[str, list[list[int]]]]:
    varying = [port for port in ports if dynamic(port.name)]
    if not varying:
        return []
    return [
        {port.name: [[s.get(side, side) for side in port.shape] for s in sizes] for port in varying}
        for sizes in ranges
    ]
