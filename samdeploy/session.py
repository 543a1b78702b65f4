"""The three protocols that a backend implements, and the plain data that passes through them.

* :class:`Session` is one opened graph: named arrays in, named arrays out. It is the only thing
  that differs per backend; prompts, masks and whole-image mode are NumPy above it. A protocol, so
  that a backend needs no base class of ours.
* :class:`Runtime` opens graphs as sessions and says, without raising, whether it can run here.
* :class:`Exporter` writes the graphs of a bundle from the torch modules.

Names, shapes and dtypes are checked once, above the session (:mod:`samdeploy.graphs`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from samdeploy.models.sam import Sam

Array: TypeAlias = NDArray[Any]


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
    ``reason`` says in one sentence why, and ``install`` is the command that mends it.
    """

    devices: tuple[str, ...] = ()
    reason: str = ""
    install: str = ""
    version: str = ""

    @property
    def usable(self) -> bool:
        return bool(self.devices)


@dataclass(frozen=True)
class RuntimeOptions:
    """How to open a graph. A runtime ignores nothing silently: it raises
    :class:`~samdeploy.errors.InputError` for a value that it cannot honour.

    Attributes:
        threads: CPU threads of one inference; ``None`` leaves it to the backend.
        memory_arena: keep freed memory for the next call (faster, larger).
        graph_optimization: ``all``, ``extended``, ``basic`` or ``off``.
        precision: arithmetic of the inference, ``f32``, ``f16`` or ``bf16``; ``None`` is what the
            backend prefers, which may be lower than that of the weights.
        cache: folder where a backend may keep compiled models, for a faster second start.
        imgsz: side of the encoder input when the source is a checkpoint, in pixels.
        config: architecture details when the source is a checkpoint of non-standard shape.
    """

    threads: int | None = None
    memory_arena: bool = True
    graph_optimization: str = "all"
    precision: str | None = None
    cache: Path | None = None
    imgsz: int | None = None
    config: Mapping[str, Any] | str | Path | None = None


@dataclass(frozen=True)
class ExportOptions:
    """What an exporter may be asked; see :func:`samdeploy.export` for the meaning of each."""

    opset: int = 17
    simplify: bool = True
    half: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)


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
        """Synchronous; the caller owns the returned arrays."""
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
    """Writes the graphs of one format."""

    name: ClassVar[str]
    runtime: ClassVar[str]  # the runtime that opens what this exporter writes

    @classmethod
    def availability(cls) -> Availability:
        """Never raises."""
        ...

    def export(self, model: Sam, folder: Path, options: ExportOptions) -> tuple[Graph, ...]:
        """Write into ``folder`` (which exists and is empty) and describe what was written.

        Raises:
            ExportError: the backend's converter failed.
        """
        ...
