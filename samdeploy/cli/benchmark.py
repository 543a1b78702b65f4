"""The commands ``benchmark``, ``benchmark compare``, ``benchmark peers``, ``benchmark
compare-models`` and ``tune``. Typer reads options from signatures: each command names its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from samdeploy.benchmarking import (
    BenchmarkResult,
    Measuring,
    benchmark,
    benchmark_models,
    benchmark_peers,
    compare_benchmarks,
    tune,
)
from samdeploy.cli.console import print_json, say, steps
from samdeploy.cli.fields import takes_options
from samdeploy.cli.options import Config, Imgsz, Json, flag, option
from samdeploy.cli.words import parse_names
from samdeploy.options import option as keyword
from samdeploy.schemes import schemes

Formats = Annotated[
    str | None, option("formats", help="onnx,openvino:fp32,torch: as many as wanted")
]

#: Of many models or tools, whole images are measured once, if not told otherwise.
_ONE_WHOLE_IMAGE = {"whole_image_rounds": 1}


@dataclass(frozen=True)
class _Measuring(Measuring):
    """What can be asked of every benchmark: how it measures, and where things are."""

    folder: str | None = keyword(None, "keep the exported bundles here, or use them")
    output: str = keyword("runs/benchmark", "folder of the report")


def benchmark_command(
    model: Annotated[str, option("model", help="checkpoint, known name or bundle folder")],
    formats: Formats = None,
    device: Annotated[
        str, option("device", help="cpu, cuda, mps, ...; several with commas")
    ] = "cpu",
    runtime: Annotated[str, option("runtime", help="python, cpp or both")] = "python",
    cli: Annotated[str | None, option("cli", help="cpp: path of samdeploy-cli")] = None,
    reference: Annotated[str | None, option("reference", help="a bundle's checkpoint")] = None,
    imgsz: Imgsz = None,
    config: Config = None,
    as_json: Json = False,
    measuring: Any = None,
) -> None:
    """Measure a model in several formats: speed, memory, size and agreement with torch."""
    _report(
        benchmark,
        model,
        as_json=as_json,
        formats=parse_names(formats, "formats"),
        device=parse_names(device, "device"),
        runtime=parse_names(runtime, "runtime"),
        cli=cli,
        reference=reference,
        imgsz=imgsz,
        config=config,
        **measuring,
    )


def peers_command(
    model: Annotated[str, option("model", help="checkpoint or known name")],
    peers: Annotated[str | None, option("peers", help="default: all known")] = None,
    formats: Annotated[str, option("formats", help="ours: as for benchmark")] = "onnx,openvino",
    malloc: Annotated[str, option("malloc", help="allocator of the peers")] = "default,tuned",
    as_json: Json = False,
    measuring: Any = None,
) -> None:
    """Measure other tools that are installed beside ours, on the same weights and image."""
    _report(
        benchmark_peers,
        model,
        as_json=as_json,
        peers=parse_names(peers, "peers"),
        formats=parse_names(formats, "formats"),
        malloc=parse_names(malloc, "malloc"),
        **_ONE_WHOLE_IMAGE | measuring,
    )


def models_command(
    models: Annotated[
        str, option("models", help="bundles, ONNX files, checkpoints or known names")
    ],
    format: Annotated[str, option("format", help="what checkpoints are exported to")] = "onnx",
    device: Annotated[str, option("device", help="cpu, cuda, mps, ...")] = "cpu",
    trust: Annotated[
        bool, flag("trust", help="load Ultralytics checkpoints, which executes code of the file")
    ] = False,
    as_json: Json = False,
    measuring: Any = None,
) -> None:
    """Measure models of several families, beside what others published for some of them."""
    _report(
        benchmark_models,
        parse_names(models, "models"),
        as_json=as_json,
        format=format,
        device=device,
        trust=trust,
        **_ONE_WHOLE_IMAGE | measuring,
    )


def compare_command(
    first: Annotated[str, typer.Argument(help="JSON file of a benchmark")],
    second: Annotated[str, typer.Argument(help="the one to compare with it")],
    force: Annotated[bool, flag("force", help="compare unlike conditions as well")] = False,
    as_json: Json = False,
) -> None:
    """Ratios of two stored benchmarks; refused when their conditions differ."""
    found = compare_benchmarks(first, second, force=force)
    if as_json:
        print_json({"unlike": found.unlike, "ratios": found.ratios})
    else:
        print(found.text())


def tune_command(
    model: Annotated[str, option("model", help="checkpoint or known name")],
    target: Annotated[str, option("target", help="device to tune for: cpu, cuda, ...")] = "cpu",
    formats: Annotated[str | None, option("formats", help="default: all that run there")] = None,
    precisions: Annotated[
        str | None, option("precisions", help=f"of {', '.join(schemes())}; default: all")
    ] = None,
    goal: Annotated[str, option("goal", help="what is to be fast: whole_image or click")] = (
        "whole_image"
    ),
    budget: Annotated[float, option("budget", help="seconds for all of it")] = 600,
    tolerance: Annotated[float | None, option("tolerance", help="smallest mean mask IoU")] = None,
    data: Annotated[str, option("data", help="int8: folder of images to calibrate with")] = "",
    image: Annotated[
        str | None, option("image", help="default: a generated scene of 1800 x 1200")
    ] = None,
    output: Annotated[str | None, option("output", help="default: ./<name>_tuned")] = None,
    as_json: Json = False,
) -> None:
    """Find the fastest format, precision, arithmetic, threads and batch that are accurate enough
    here."""
    result = tune(
        model,
        target=target,
        formats=parse_names(formats, "formats"),
        precisions=parse_names(precisions, "precisions"),
        goal=goal,
        budget=budget,
        tolerance=tolerance,
        data=data,
        image=image,
        output=output,
        progress=steps(as_json),
    )
    if as_json:
        print_json({"bundle": str(result.bundle), "tuning": result.tuning})
        return
    took, chosen = result.tuning.took, result.tuning.chosen
    print(f"\n{result.text()}\n\ntook {took:.0f} of {budget:g} seconds; wrote {result.bundle}")
    print(
        f"SAM('{result.bundle}') now runs {chosen.format} {chosen.made} on this machine in "
        f"{chosen.arithmetic} with {chosen.threads or 'its'} threads, "
        f"{chosen.points_batch_size} prompts a call"
    )


def add_commands(app: typer.Typer) -> None:
    """``benchmark compare`` and the like are commands named with a dash."""
    for name, command in (
        ("benchmark", benchmark_command),
        ("benchmark-compare-models", models_command),
        ("benchmark-peers", peers_command),
    ):
        app.command(name)(takes_options(command, _Measuring, "measuring"))
    app.command("benchmark-compare")(compare_command)
    app.command("tune")(tune_command)


def _report(
    measure: Callable[..., BenchmarkResult], subject: Any, *, as_json: bool, **options: Any
) -> None:
    """Measure and print the result; exit code 1 when a case failed."""
    result = measure(subject, progress=steps(as_json), **options)
    if as_json:
        print_json(result.report)
    else:
        print(f"\n{result.text()}\n\nwrote {result.json}, {result.markdown} and {result.html}")
    if result.failed:
        say(f"error: {len(result.failed)} cases failed: {', '.join(result.failed)}.")
        raise typer.Exit(1)
