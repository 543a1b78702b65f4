"""Benchmarks by name: the public functions, and what the hub knows of them.

The measuring itself is a spoke, found through entry points like exporters and runtimes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from samdeploy.options import option
from samdeploy.registry import load_benchmark
from samdeploy.tuning import Tuning


@dataclass(frozen=True)
class Measuring:
    """How to measure; the same for every benchmark."""

    image: str | Path | None = option(None, "default: a generated scene of 1800 x 1200")
    weights: str = option("checkpoint", "checkpoint, or random for a published architecture")
    threads: int | None = option(None, "CPU threads of one inference")
    warmup: int = option(1, "calls before each timing")
    rounds: int = option(5, "calls in each timing")
    repeats: int = option(1, "fresh processes of each case")
    whole_image: bool = option(True, "measure whole-image mode as well")
    whole_image_rounds: int = option(3, "calls of whole-image mode")
    points_stride: int = option(32, "its grid points along a side")


class BenchmarkResult(Protocol):
    """A finished benchmark: an immutable ``report`` and the files that hold it."""

    @property
    def report(self) -> Any: ...

    @property
    def json(self) -> Path: ...

    @property
    def markdown(self) -> Path: ...

    @property
    def html(self) -> Path: ...

    @property
    def failed(self) -> list[str]:
        """Names of the cases that should have run and did not."""
        ...

    def text(self) -> str:
        """The tables for a terminal."""
        ...


class Comparison(Protocol):
    """Two reports as ``ratios`` of the second to the first (msgspec structs)."""

    @property
    def ratios(self) -> Sequence[Any]: ...

    @property
    def unlike(self) -> Sequence[str]:
        """Conditions that differ."""
        ...

    def text(self) -> str: ...


def benchmark(
    model: str | Path,
    *,
    formats: Sequence[str] = (),
    device: Sequence[str] = ("cpu",),
    runtime: Sequence[str] = ("python",),
    cli: str | Path | None = None,
    output: str | Path = "runs/benchmark",
    progress: Callable[[str], None] | None = None,
    **options: Any,
) -> BenchmarkResult:
    """Measure a model in several formats, each case in a fresh process.

    Load, encode, decode of 1, 16 and 64 prompts, one click, the whole image, peak memory, size, and
    the masks' IoU with the torch reference; written as JSON, Markdown and HTML.

    Args:
        model: a checkpoint by path or known name, which is exported first, or a bundle folder.
        formats: what to export to; ``torch`` is the checkpoint itself. A colon gives the arithmetic
            of the inference, as in ``openvino:fp32``. By default ``onnx`` and ``torch``.
        device: one or more of ``cpu``, ``cuda``, ``mps``, ...; those that are not here are in the
            report with the reason.
        runtime: ``python``, ``cpp`` or both: in C++, each format is a row of its own.
        cli: the built ``samdeploy-cli`` that ``cpp`` runs; by default what the variable
            ``SAMDEPLOY_CLI`` names, or what is on the path.
        output: folder of the report.
        progress: called with a line of text at every step.
        options:
            ``image`` (by default a generated scene of 1800 x 1200 pixels), ``threads``, ``rounds``
            and ``warmup`` of every timing, ``repeats`` (fresh processes of every case),
            ``whole_image`` (``False`` leaves it out), ``whole_image_rounds``, ``points_stride``,
            ``weights="random"`` (a published architecture without its weights), ``folder`` (keeps
            the exported bundles, and uses those that are there), ``reference`` (the checkpoint of
            a bundle), ``imgsz`` and ``config`` (checkpoints of non-standard shape).

    Raises:
        InputError: an option is not usable.
        RuntimeUnavailableError: nothing of what was asked for can run here.
    """
    result: BenchmarkResult = load_benchmark("formats")(
        model,
        formats=formats,
        device=device,
        runtime=runtime,
        cli=cli,
        output=output,
        progress=progress,
        **options,
    )
    return result


def benchmark_peers(model: str | Path, **options: Any) -> BenchmarkResult:
    """The same measurements of other tools that are installed, beside ours, and their ratios.

    ``options`` are those of :func:`benchmark` except ``device`` and ``reference`` (all run on the
    CPU), and ``peers`` (names; by default all known) and ``malloc`` (``default``, ``tuned`` or
    both: the allocator that peers run with; ours always has the default).

    Raises:
        InputError: an option is not usable, or the model is of no published architecture.
    """
    result: BenchmarkResult = load_benchmark("peers")(model, **options)
    return result


def benchmark_models(models: Sequence[str | Path], **options: Any) -> BenchmarkResult:
    """Models of any family in one table: size, parameters, latency of encoder, decoder and whole
    image, beside what others published for some of them.

    Args:
        models: bundle folders, ONNX files that Ultralytics exported, checkpoints by path or known
            name. One that cannot be had is a row with its reason.
        options: ``format`` (what checkpoints are exported to), ``device``, ``trust`` (see
            :func:`samdeploy.export`), and those of :func:`benchmark` except ``formats``,
            ``reference``, ``imgsz`` and ``config``. ``weights="random"`` makes up the checkpoints
            of published architectures that are not here, those of the YOLO family by the package
            ultralytics.

    Raises:
        InputError: an option is not usable.
        RuntimeUnavailableError: none of the models can be measured here.
    """
    result: BenchmarkResult = load_benchmark("models")(models, **options)
    return result


class TuneResult(Protocol):
    """The ``bundle`` that runs fastest, and the ``tuning`` that is in it."""

    @property
    def tuning(self) -> Tuning: ...

    @property
    def bundle(self) -> Path: ...

    def text(self) -> str:
        """The table for a terminal."""
        ...


def tune(model: str | Path, **options: Any) -> TuneResult:
    """Find the fastest way to run a model on this machine that is accurate enough.

    Every format and precision that the target can run is exported, which measures its accuracy, and
    timed; other arithmetic of the device is verified and timed for the fastest of each format, and
    fewer threads and other batches for the fastest of all. What was found is written into
    a copy of the best bundle as ``tune.json``, which :class:`samdeploy.SAM` follows on this machine
    for all that it is not told.

    Args:
        model: a checkpoint by path or known name.
        options: ``target`` (the device, ``cpu``), ``formats`` and ``precisions`` (``fp32``,
            ``fp16``, ``bf16``, ``int8``, ``int8_weights``; by default all), ``goal``
            (``whole_image``, or ``click``: image to mask of one point), ``budget`` (seconds for all
            of it, 600: what is not ready by then is not tried), ``tolerance`` and ``data`` (as for
            :func:`samdeploy.export`), ``image``, ``output`` (folder of the bundle,
            ``<name>_tuned``), ``progress``.

    Raises:
        InputError: an option is not usable.
        SamDeployError: nothing passed within the budget.
    """
    result: TuneResult = load_benchmark("tune")(model, **options)
    return result


def compare_benchmarks(first: str | Path, second: str | Path, *, force: bool = False) -> Comparison:
    """Ratios of the second stored report to the first.

    Raises:
        InputError: one is no report, or they were taken under unlike conditions and ``force`` is
            not set.
    """
    result: Comparison = load_benchmark("compare")(first, second, force=force)
    return result
