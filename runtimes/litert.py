"""LiteRT (TensorFlow Lite): on the CPU through XNNPACK, on GPUs through WebGPU."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from ctypes import CDLL
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import ai_edge_litert
import numpy as np
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.hardware_accelerator import HardwareAccelerator
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.options import GpuOptions, Options

from samdeploy.errors import BundleError, InputError, RuntimeUnavailableError
from samdeploy.families import tensor_names
from samdeploy.fixed_shapes import open_variants
from samdeploy.precision import FP32
from samdeploy.session import Array, Availability, RuntimeOptions, Session, TensorSpec
from samdeploy.text import reason

#: What a signature tells of its tensors: shape and dtype by name.
Details = Mapping[str, Mapping[str, Any]]


class LiteRtRuntime:
    name: ClassVar[str] = "litert"
    suffixes: ClassVar[tuple[str, ...]] = (".tflite",)
    Options: ClassVar[type[RuntimeOptions]] = RuntimeOptions

    @classmethod
    def availability(cls) -> Availability:
        gpu = _gpu()
        return Availability(
            devices=("cpu", "gpu") if gpu.usable else ("cpu",),
            version=version("ai-edge-litert"),
            lower=lambda device: ("fp16",) if device == "gpu" else (),
            absent=lambda: {} if gpu.usable else {"gpu": gpu},
        )

    def open(self, graph: Path, role: str, *, device: str, options: RuntimeOptions) -> Session:
        devices = self.availability().devices
        if device not in devices:
            why = f" ({_gpu().reason})" if device == "gpu" else ""
            raise RuntimeUnavailableError(
                f"device '{device}' is not one of LiteRT here{why}; usable: {', '.join(devices)}."
            )
        model: type[_Cpu | _Gpu] = _Gpu if device == "gpu" else _Cpu
        return open_variants(graph, lambda path: LiteRtSession(model(path, options), role))


def _gpu() -> Availability:
    """Whether a GPU can be asked; whether there is one, only opening a graph on it tells."""
    folder = Path(ai_edge_litert.__path__[0])
    if not any(folder.glob("*LiteRtWebGpuAccelerator.*")):
        return Availability(reason="this build of ai-edge-litert has no WebGPU accelerator")
    if sys.platform == "linux":
        try:
            CDLL("libvulkan.so.1")
        except OSError:
            return Availability(reason="there is no Vulkan library", install="install a GPU driver")
    return Availability(devices=("gpu",))


class _Cpu:
    provider = "LiteRT CPU (XNNPACK)"

    def __init__(self, path: Path, options: RuntimeOptions) -> None:
        options.refuse_all_but("threads", runtime=LiteRtRuntime.name)
        try:
            self._runner: Any = Interpreter(
                str(path), num_threads=options.threads
            ).get_signature_runner()
        except (ValueError, RuntimeError) as error:
            raise BundleError(
                f"LiteRT cannot open '{path}' ({reason(error)}); export it again."
            ) from error
        self.inputs: Details = self._runner.get_input_details()
        self.outputs: Details = self._runner.get_output_details()

    def __call__(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        answer: dict[str, Array] = self._runner(**feeds)
        return answer


class _Gpu:
    """All of a graph runs on the GPU, or it is an error: LiteRT would rather divide it."""

    def __init__(self, path: Path, options: RuntimeOptions) -> None:
        options.refuse_all_but("precision", runtime=f"{LiteRtRuntime.name} on the gpu")
        exact = options.precision in (None, FP32)
        if not exact and options.precision != "fp16":
            raise InputError(
                f"precision={options.precision}; LiteRT's gpu computes in fp32 or fp16, pass one."
            )
        self.provider = f"LiteRT GPU (WebGPU) {options.precision or FP32}"
        try:
            self._model: Any = CompiledModel.from_file(
                str(path),
                options=Options(
                    hardware_accelerators=HardwareAccelerator.GPU,
                    gpu_options=GpuOptions(enforce_f32=exact),
                ),
            )
            [(self._key, names)] = self._model.get_signature_list().items()
        except RuntimeError as error:
            raise RuntimeUnavailableError(
                f"device 'gpu' cannot run '{path.name}': LiteRT finds no GPU, or not all operators "
                f"run on it ({' '.join(str(error).split()[-12:])}); pass device=cpu."
            ) from error
        self.inputs: Details = self._model.get_input_tensor_details(self._key)
        self.outputs: Details = self._model.get_output_tensor_details(self._key)
        make_in, make_out = (
            self._model.create_input_buffer_by_name,
            self._model.create_output_buffer_by_name,
        )
        self._taken = {name: make_in(self._key, name) for name in names["inputs"]}
        self._given = {name: make_out(self._key, name) for name in names["outputs"]}

    def __call__(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        for name, buffer in self._taken.items():
            buffer.write(np.ascontiguousarray(feeds[name]))
        self._model.run_by_name(self._key, self._taken, self._given)
        shapes = {name: tuple(each["shape"]) for name, each in self.outputs.items()}
        return {
            name: buffer.read(int(np.prod(shapes[name])), np.float32).reshape(shapes[name])
            for name, buffer in self._given.items()
        }


class LiteRtSession:
    """Safe for threads: calls take turns, since a model has one set of tensors."""

    def __init__(self, model: _Cpu | _Gpu, role: str) -> None:
        self._model: _Cpu | _Gpu | None = model
        self._lock = threading.Lock()
        self.provider = model.provider
        # A signature lists its tensors by the alphabet; the contract has an order.
        inputs, outputs = tensor_names(role)
        self.inputs = _specs(inputs, model.inputs)
        self.outputs = _specs(outputs, model.outputs)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        with self._lock:
            if self._model is None:
                raise InputError("the session is closed; open the model again.")
            try:
                answer = self._model(feeds)
            except RuntimeError as error:
                raise RuntimeUnavailableError(
                    f"{self.provider} failed while it ran the graph ({reason(error)}); choose "
                    "another device."
                ) from error
        return {spec.name: answer[spec.name] for spec in self.outputs}

    def close(self) -> None:
        with self._lock:
            self._model = None


def _specs(names: tuple[str, ...], details: Details) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name, tuple(map(int, each["shape"])), np.dtype(each["dtype"]).name)
        for name in names
        if (each := details.get(name)) is not None
    )
