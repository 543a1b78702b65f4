"""The three protocols that a backend implements, and the plain data that passes through them.

* :class:`Session` is one opened graph: named arrays in, named arrays out. It is the only thing
  that differs per backend; prompts, masks and whole-image mode are NumPy above it. A protocol, so
  that a backend needs no base class of ours.
* :class:`Runtime` opens graphs as sessions and says, without raising, whether it can run here.
* :class:`Exporter` writes a graph of a bundle from its torch module.

Names, shapes and dtypes are checked once, above the session (:mod:`samdeploy.checked`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from samdeploy.errors import InputError
from samdeploy.limits import whole
from samdeploy.options import option
from samdeploy.precision import ARITHMETIC, FP32, arithmetic_name
from samdeploy.schemes import scheme_of

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
    ``reason`` says in one sentence why, and ``install`` is the command that mends it. ``absent``
    looks up the devices that are not usable after all, each with its own reason: a look that may
    load drivers, so it is taken only when somebody wants to know. ``lower(device)`` is what a
    device can be asked to compute in beside ``fp32``: ``tf32``, ``bf16``, ``fp16`` or nothing.
    ``simulated`` devices are programs: their answers are those of a chip, their speed is not.
    """

    devices: tuple[str, ...] = ()
    reason: str = ""
    install: str = ""
    version: str = ""
    absent: Callable[[], Mapping[str, Availability]] = dict
    lower: Callable[[str], Collection[str]] = lambda device: ()
    simulated: bool = False

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
            ``fp32``, ``tf32``, ``bf16``, ``fp16``, or ``bf16-encoder`` and ``fp16-encoder``, of
            which a runtime sees what is for its graph. ``None`` is one that the bundle was
            verified in, see :func:`samdeploy.opening.open_model`, or ``fp32``.
        cache: folder where a backend may keep compiled models, for a faster second start.
        performance_hint: ``latency`` or ``throughput``: what a backend tunes itself for.
        streams: inferences that a backend runs side by side, each on its share of the threads;
            whole-image mode makes use of them, a single prompt gets slower.
        imgsz: side of the encoder input when the source is a checkpoint, in pixels.
        config: architecture details when the source is a checkpoint of non-standard shape.
        trust: load a checkpoint that executes code (Ultralytics'), because its source is trusted.
    """

    threads: int | None = option(None, "CPU threads of one inference")
    memory_arena: bool = option(True, "keep freed memory for the next call: faster, larger")
    graph_optimization: str = option("all", "all, extended, basic or off")
    precision: str | None = option(
        None, f"arithmetic: {', '.join(ARITHMETIC)}; default: verified and, if so, tuned"
    )
    cache: Path | None = option(None, "folder for compiled models: a faster second start")
    performance_hint: str | None = option(None, "latency or throughput")
    streams: int | None = option(None, "decoder calls side by side")
    imgsz: int | None = option(None, "side of the encoder input in pixels, of a checkpoint")
    config: Mapping[str, Any] | str | Path | None = option(
        None, "JSON with architecture details, of a checkpoint"
    )
    trust: bool = option(False, "load an Ultralytics checkpoint, which executes code of the file")

    def __post_init__(self) -> None:
        if self.precision is not None:
            object.__setattr__(self, "precision", arithmetic_name(self.precision))
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
        ``precision="fp32"``.

        Raises:
            InputError: another option is not at its default.
        """
        for each in fields(self):
            value = getattr(self, each.name)
            granted = value == each.default or (each.name, value) == ("precision", FP32)
            if not granted and each.name not in heeded:
                raise InputError(
                    f"{each.name}={value}; runtime '{runtime}' has no use for it, leave it out."
                )


@dataclass(frozen=True)
class ExportOptions:
    """Options of every exporter. Its own ``Options`` add to it what it can be asked, as fields
    made with :func:`samdeploy.options.option`; groups that several exporters share are in
    :mod:`samdeploy.exporting.options`.

    Attributes:
        metadata: facts about the source, written into the artifacts.
    """

    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise :class:`~samdeploy.errors.InputError` for values out of range. A group that
        overrides it calls this one."""

    @property
    def precision(self) -> str:
        """Name of the scheme that the weights are stored in (:mod:`samdeploy.schemes`)."""
        return scheme_of(self).name


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
        """The name of what really runs the graph, such as ``CPUExecutionProvider``."""
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
class DividedSession(Session, Protocol):
    """A session whose threads do more when several calls share them out.

    ``streams`` calls side by side on the session that :meth:`divided` opens, each with its share of
    the threads, take less time than one after the other; 1 where they do not. A call alone is
    fastest on this one.
    """

    streams: int

    def divided(self) -> Session: ...


@runtime_checkable
class Runtime(Protocol):
    """Opens graphs. An instance serves one model, so it may share state between its graphs.

    ``Options`` are :class:`RuntimeOptions`, or a class derived from it with options of its own.
    """

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    Options: ClassVar[type[RuntimeOptions]]

    @classmethod
    def availability(cls) -> Availability:
        """Never raises."""
        ...

    def open(self, graph: Path, role: str, *, device: str, options: Any) -> Session:
        """``graph`` is the artifact of ``role`` (``encoder``, ``decoder``), or for the torch
        runtime the checkpoint that holds them all. ``options`` are an instance of ``Options``.

        Raises:
            RuntimeUnavailableError: ``device`` is not usable here; never another device instead.
        """
        ...


@runtime_checkable
class Exporter(Protocol):
    """Writes graphs in one format.

    ``runtimes`` open what it writes: the first is the one that the bundle is for, the others can
    check it on machines where that one cannot run. ``Options`` are what it can be asked.
    ``tools`` are the distributions whose versions a manifest records.
    """

    name: ClassVar[str]
    runtimes: ClassVar[tuple[str, ...]]
    Options: ClassVar[type[ExportOptions]]
    tools: ClassVar[tuple[str, ...]]

    @classmethod
    def availability(cls) -> Availability:
        """Never raises."""
        ...

    def export(self, graph: Any, folder: Path, options: Any) -> Graph:
        """Write one graph into ``folder``, which exists, and describe what was written. Files are
        named after the graph's role: the other graphs of the model go into the same folder.
        ``graph`` is a :class:`samdeploy.models.GraphModule`, ``options`` an instance of
        ``Options``.

        Raises:
            ExportError: the backend's converter failed.
        """
        ...
