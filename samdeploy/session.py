"""The three protocols that a backend implements, and the plain data that passes through them.

* :class:`Session` is one opened graph: named arrays in, named arrays out. It is the only thing
  that differs per backend; prompts, masks and whole-image mode are NumPy above it. A protocol, so
  that a backend needs no base class of ours.
* :class:`Runtime` opens graphs as sessions and says, without raising, whether it can run here.
* :class:`Exporter` writes a graph of a bundle from its torch module.

Names, shapes and dtypes are checked once, above the session (:mod:`samdeploy.graphs`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from samdeploy.errors import InputError
from samdeploy.limits import whole
from samdeploy.precision import ARITHMETIC, F32

if TYPE_CHECKING:
    from samdeploy.models import GraphModule

Array: TypeAlias = NDArray[Any]

#: What artifacts are judged as, and the option of :class:`ExportOptions` that asks for it, the
#: coarsest first.
_COARSER = {
    "int8": "int8",
    "palette": "palette_bits",
    "fp16": "half",
    "bf16": "bf16",
    "tf32": "tf32",
}
PRECISIONS = (*_COARSER, "fp32")


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape and dtype of one input or output; a dynamic dimension is its name."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str = "float32"

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        return np.dtype(self.dtype)


@dataclass(frozen=True)
class Availability:
    """Where a runtime or exporter can work on this machine.

    ``devices`` are the values that ``device=`` accepts here, best first; when it is empty,
    ``reason`` says in one sentence why, and ``install`` is the command that mends it. ``absent``
    looks up the devices that are not usable after all, each with its own reason: a look that may
    load drivers, so it is taken only when somebody wants to know. ``lower(device)`` is what a
    device can be asked to compute in beside ``f32``: ``tf32``, ``bf16``, ``f16`` or nothing.
    """

    devices: tuple[str, ...] = ()
    reason: str = ""
    install: str = ""
    version: str = ""
    absent: Callable[[], Mapping[str, Availability]] = dict
    lower: Callable[[str], Collection[str]] = lambda device: ()

    @property
    def usable(self) -> bool:
        return bool(self.devices)


#: Most threads, up to twice the processors where those are many: far more of them stand in each
#: other's way until nothing moves, or end the process. Most inferences side by side.
MOST_THREADS, MOST_STREAMS = max(64, 2 * (os.cpu_count() or 1)), 256
#: Longest side of an encoder input or a detector's, in pixels.
MOST_IMGSZ = 8192
#: Most prompts of a call, and tokens of a prompt, that :class:`ExportOptions` fix.
MOST_PROMPTS, MOST_POINTS = 1024, 1024


@dataclass(frozen=True)
class RuntimeOptions:
    """How to open a graph. A runtime ignores nothing silently: it raises
    :class:`~samdeploy.errors.InputError` for a value that it cannot honour,
    see :meth:`refuse_all_but`. A count out of range is one too.

    Attributes:
        threads: CPU threads of one inference; ``None`` leaves it to the backend.
        memory_arena: keep freed memory for the next call (faster, larger).
        graph_optimization: ``all``, ``extended``, ``basic`` or ``off``.
        precision: arithmetic of the inference, a name of :data:`samdeploy.precision.ARITHMETIC`:
            ``f32``, ``tf32``, ``bf16``, ``f16``, or ``bf16-encoder`` and ``f16-encoder``, of which
            a runtime sees what is for its graph. ``None`` is one that the bundle was verified in,
            see :func:`samdeploy.opening.open_model`, or ``f32``.
        cache: folder where a backend may keep compiled models, for a faster second start.
        performance_hint: ``latency`` or ``throughput``: what a backend tunes itself for.
        streams: inferences that a backend runs side by side, each on its share of the threads;
            whole-image mode makes use of them, a single prompt gets slower.
        imgsz: side of the encoder input when the source is a checkpoint, in pixels.
        config: architecture details when the source is a checkpoint of non-standard shape.
        trust: load a checkpoint that executes code (Ultralytics'), because its source is trusted.
    """

    threads: int | None = None
    memory_arena: bool = True
    graph_optimization: str = "all"
    precision: str | None = None
    cache: Path | None = None
    performance_hint: str | None = None
    streams: int | None = None
    imgsz: int | None = None
    config: Mapping[str, Any] | str | Path | None = None
    trust: bool = False

    def __post_init__(self) -> None:
        if self.precision not in (None, *ARITHMETIC):
            raise InputError(
                f"precision={self.precision}; expected one of {', '.join(ARITHMETIC)}."
            )
        for name, most in (
            ("threads", MOST_THREADS),
            ("streams", MOST_STREAMS),
            ("imgsz", MOST_IMGSZ),
        ):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, whole(name, value, 1, most))

    def refuse_all_but(self, *heeded: str, runtime: str) -> None:
        """A runtime calls this with the names of the options that it heeds. Every runtime grants
        ``precision="f32"``.

        Raises:
            InputError: another option is not at its default.
        """
        for option in fields(self):
            value = getattr(self, option.name)
            granted = value == option.default or (option.name, value) == ("precision", F32)
            if not granted and option.name not in heeded:
                raise InputError(
                    f"{option.name}={value}; runtime '{runtime}' has no use for it, leave it out."
                )


@dataclass(frozen=True)
class ExportOptions:
    """What an exporter may be asked. An exporter names those it heeds in ``Exporter.options``; any
    other that is not at its default is refused before it is called.

    Attributes:
        opset: ONNX operator set.
        simplify: fold constants and shape arithmetic out of the graphs.
        half: float16, with float32 where float16 overflows.
        bf16: bfloat16, which has the range of float32 and a coarser mantissa than float16.
        int8: 8-bit layers in SAM's image encoder; with ``half`` or ``bf16``, the rest in those.
        weights_only: ``int8`` of weights alone: activations and arithmetic stay float, and nothing
            is calibrated.
        palette_bits: bits of an encoder weight, which are its number in a palette of as many values
            as they can count: 4, 6 or 8; 0 for none.
        data: folder or glob pattern of images that calibrate ``int8``; generated scenes without.
        float_layers: layers or blocks of the encoder that ``int8`` leaves in float, as module
            paths such as ``image_encoder.blocks.0.attn.qkv``.
        tf32: let GPU tensor cores round float32 products to 10 bits of mantissa.
        workspace: most scratch memory of a GPU engine, in GiB; by default what the builder likes.
        max_prompts: largest number of prompts in one decoder call, where a format fixes it.
        max_points: largest number of tokens of one prompt, where a format fixes it.
        library: which of two libraries builds an engine, ``tensorrt`` or ``rtx``; by default
            TensorRT where it can, else TensorRT-RTX. An engine is opened by the one that built it.
        compute_capability: GPU generations an engine is for, such as ``8.6,8.9``.
        timing_cache: file in which the engine builder keeps its measurements for the next build.
        minimum_deployment_target: oldest system an app must run on, such as ``iOS16``.
        image_input: write an encoder that takes an image type (``CVPixelBuffer``) as well.
        metadata: facts about the source, written into the artifacts; always heeded.
    """

    opset: int = 17
    simplify: bool = True
    half: bool = False
    bf16: bool = False
    int8: bool = False
    weights_only: bool = False
    palette_bits: int = 0
    data: str = ""
    float_layers: tuple[str, ...] = ()
    tf32: bool = False
    workspace: float | None = None
    max_prompts: int = 64
    max_points: int = 16
    library: str = ""
    compute_capability: str = ""
    timing_cache: str = ""
    minimum_deployment_target: str = "iOS16"
    image_input: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, most in (("max_prompts", MOST_PROMPTS), ("max_points", MOST_POINTS)):
            object.__setattr__(self, name, whole(name, getattr(self, name), 1, most))

    @property
    def precision(self) -> str:
        """What the artifacts are judged as: one of :data:`PRECISIONS`."""
        return next((name for name, option in _COARSER.items() if getattr(self, option)), "fp32")


@dataclass(frozen=True)
class Graph:
    """One artifact that an exporter wrote: its role in the bundle and its files.

    ``files`` are relative to the bundle's folder, the one to open first, side files after it.
    """

    role: str
    files: tuple[Path, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


class Session(Protocol):
    """One opened graph."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def provider(self) -> str:
        """What really runs the graph, such as ``CPUExecutionProvider``."""
        ...

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Synchronous; the caller owns the returned arrays.

        Raises:
            InputError: the session is closed.
        """
        ...

    def close(self) -> None:
        """Release what the backend holds; calling it twice is harmless."""
        ...


@runtime_checkable
class Runtime(Protocol):
    """Opens graphs. An instance serves one model, so it may share state between its graphs."""

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]

    @classmethod
    def availability(cls) -> Availability:
        """Never raises."""
        ...

    def open(self, graph: Path, role: str, *, device: str, options: RuntimeOptions) -> Session:
        """``graph`` is the artifact of ``role`` (``encoder``, ``decoder``), or for the torch
        runtime the checkpoint that holds them all.

        Raises:
            RuntimeUnavailableError: ``device`` is not usable here; never another device instead.
        """
        ...


@runtime_checkable
class Exporter(Protocol):
    """Writes graphs in one format.

    ``runtimes`` open what it writes: the first is the one that the bundle is for, the others can
    check it on machines where that one cannot run. ``options`` are the names of the
    :class:`ExportOptions` that it heeds.
    """

    name: ClassVar[str]
    runtimes: ClassVar[tuple[str, ...]]
    options: ClassVar[frozenset[str]]

    @classmethod
    def availability(cls) -> Availability:
        """Never raises."""
        ...

    def export(self, graph: GraphModule, folder: Path, options: ExportOptions) -> Graph:
        """Write one graph into ``folder``, which exists, and describe what was written. Files are
        named after the graph's role: the other graphs of the model go into the same folder.

        Raises:
            ExportError: the backend's converter failed.
        """
        ...
