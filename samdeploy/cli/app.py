"""The ``samdeploy`` command: ``export``, ``predict``, ``track``, ``annotate``, ``serve``, ``info``,
``verify``, ``formats``, ``benchmark``, ``tune``, ``web``.

``key=value`` and ``--key value`` mean the same. Exit codes: 0 done, 1 failed, 2 bad input.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from samdeploy import registry
from samdeploy.annotation.writers.options import all_options as label_options
from samdeploy.bundle import read_manifest
from samdeploy.cli.annotate import annotate_command
from samdeploy.cli.benchmark import add_commands
from samdeploy.cli.console import print_json, run, say, steps
from samdeploy.cli.fields import names_of, takes_options, takes_whole_image
from samdeploy.cli.options import (
    BitDepth,
    Config,
    Device,
    Imgsz,
    Json,
    MaxPixels,
    Model,
    Preprocess,
    Runtime,
    Tolerance,
    Trust,
    Window,
    flag,
    option,
)
from samdeploy.cli.predict_files import LeftOut, Result, check_apart, output_folder, predict_files
from samdeploy.cli.running import runtime_options_of
from samdeploy.cli.serve import serve_command
from samdeploy.cli.track import track_command
from samdeploy.cli.verification_table import verification_table
from samdeploy.cli.web import web
from samdeploy.cli.words import HELP, keys_of, parse_numbers, parse_prompts, value_of
from samdeploy.errors import InputError, RuntimeUnavailableError
from samdeploy.exporting.options import all_options
from samdeploy.exporting.pipeline import export as export_bundle
from samdeploy.exporting.verify import verify_bundle
from samdeploy.facts import layout_facts, show
from samdeploy.image_options import ImageOptions
from samdeploy.layouts import is_layout, read_record
from samdeploy.opening import class_of
from samdeploy.options import options_of
from samdeploy.precision import FP32
from samdeploy.processor import arithmetic
from samdeploy.registry import load_exporter
from samdeploy.session import Availability, ExportOptions, RuntimeOptions
from samdeploy.sources import list_sources
from samdeploy.table import format_table
from samdeploy.text import printable

#: What is exported to where nothing is said.
DEFAULT_FORMAT = "onnx"


def _version(
    version: Annotated[bool, typer.Option("--version", help="print the version")] = False,
) -> None:
    if version:
        print(f"samdeploy {installed_version('samdeploy')}")
        raise typer.Exit


def export(
    model: Annotated[str, option("model", help="checkpoint file or known name")],
    format: Annotated[str, option("format", help="see: samdeploy formats")] = DEFAULT_FORMAT,
    output: Annotated[str | None, option("output", help="default: ./<name>_<format>")] = None,
    imgsz: Imgsz = None,
    config: Config = None,
    preprocess: Preprocess = None,
    verify: Annotated[str, option("verify", help="error, warn or off")] = "error",
    tolerance: Tolerance = None,
    device: Device = "auto",
    trust: Trust = False,
    as_json: Json = False,
    export_options: Any = None,
) -> None:
    """Write a checkpoint as a verified bundle, or as the files of another tool (layout=). What else
    can be asked depends on the format: see samdeploy export format=NAME --help."""
    folder = export_bundle(
        model,
        format,
        output=output,
        imgsz=imgsz,
        config=config,
        preprocess=preprocess,
        verify=verify,
        tolerance=tolerance,
        device=device,
        trust=trust,
        progress=steps(as_json),
        **export_options,
    )
    if is_layout(folder):
        laid_out = read_record(folder)
        kind, files, record = "layout", [*laid_out.files], laid_out.verification
        table = f"{laid_out.tool}: {record.sentence}"
    else:
        manifest = read_manifest(folder)
        kind, files = "bundle", [*manifest.files]
        record = manifest.verification
        table = verification_table(record)
    if as_json:
        print_json({kind: str(folder), "verification": record})
        return
    print(table)
    print(f"wrote {folder} ({sum(file.bytes for file in files) / 1e6:.1f} MB)")
    if verify == "warn" and record.ran and not record.passed:
        say(f"warning: {folder} missed its tolerance and was kept because of verify={verify}.")


def predict(
    model: Model,
    source: Annotated[str, option("source", help="image, video, folder or glob pattern")],
    points: Annotated[str | None, option("points", help="[x,y] or [[x,y],...] pixels")] = None,
    labels: Annotated[str | None, option("labels", help="1 foreground, 0 background")] = None,
    bboxes: Annotated[str | None, option("bboxes", help="[x1,y1,x2,y2] or several")] = None,
    masks: Annotated[str | None, option("masks", help="image file of a mask, or several")] = None,
    multimask: Annotated[bool, flag("multimask", help="three masks a prompt")] = False,
    output: Annotated[str | None, option("output", help="folder of the results")] = None,
    project: Annotated[str, option("project", help="without output=: results are in")] = "runs",
    name: Annotated[str, option("name", help="project/name, name2, name3...")] = "predict",
    runtime: Runtime = None,
    device: Device = "auto",
    max_det: Annotated[int | None, option("max_det", help="YOLO: most objects [300]")] = None,
    classes: Annotated[str | None, option("classes", help="YOLO: class ids, as [0,2]")] = None,
    agnostic_nms: Annotated[
        bool, flag("agnostic_nms", help="YOLO: one object may be of any class")
    ] = False,
    bit_depth: BitDepth = None,
    window: Window = None,
    max_pixels: MaxPixels = None,
    as_json: Json = False,
    runtime_options: Any = None,
    whole_image: Any = None,
) -> None:
    """Segment by points, boxes or masks; without any of them, the whole image."""
    given = {
        **whole_image,
        "max_det": max_det,
        "classes": parse_numbers(classes, "classes"),
        "agnostic_nms": agnostic_nms or None,
    }
    settings = {name: value for name, value in given.items() if value is not None}
    images = ImageOptions(bit_depth, parse_numbers(window, "window"), max_pixels)
    prompts = parse_prompts(points, labels, bboxes, masks)
    # Everything that can be refused is refused before a model is opened.
    opener = class_of(model)
    opener.check(bool(prompts), multimask, settings)
    sources = list_sources(source)
    options = runtime_options_of(model, runtime)(**runtime_options)
    with output_folder(output, project, name) as folder:
        check_apart(sources, folder)
        with opener(model, runtime=runtime, device=device, options=options) as opened:
            facts = opened.info(verbose=False)
            written, left_out = [], 0
            for result in predict_files(
                opened, sources, folder, prompts, settings, multimask, images
            ):
                written.append(_summary(result))
                if isinstance(result, LeftOut):
                    left_out += 1
                    say(f"{result.name} was left out: {result.reason}")
                elif not as_json:
                    print(_sentence(result), flush=True)
    if as_json:
        print_json(written)
    elif left_out < len(written):
        providers = ", ".join(sorted(set(facts["providers"].values())))
        others = f", {left_out} of {len(written)} left out" if left_out else ""
        print(printable(f"results in {folder} (runtime {facts['runtime']}, {providers}){others}"))
    if left_out:
        raise typer.Exit(1)


def _summary(result: Result | LeftOut) -> dict[str, Any]:
    if isinstance(result, LeftOut):
        return {"image": result.name, "error": result.reason}
    return {
        "image": result.name,
        "masks": len(result.masks),
        "scores": [round(float(score), 4) for score in result.masks.scores],
        "seconds": round(result.seconds, 4),
        "picture": str(result.picture),
        "json": str(result.record),
    }


def _sentence(result: Result) -> str:
    count = len(result.masks)
    found = f"{count} mask{'s' * (count != 1)}"
    if count:
        score = "predicted IoU" if result.masks.classes is None else "confidence"
        found += f", best {score} {float(result.masks.scores.max()):.3f}"
    took = f"{result.seconds * 1000:.0f} ms"
    return printable(f"{result.name}: {found}, {took} -> {result.picture}")


def info(
    model: Model,
    runtime: Runtime = None,
    device: Device = "auto",
    as_json: Json = False,
    runtime_options: Any = None,
) -> None:
    """Say what a bundle or checkpoint is and what would run it, and of a layout which tool."""
    if is_layout(model):
        facts = layout_facts(Path(model))
        if as_json:
            print_json(facts)
        else:
            show(facts)
        return
    options = runtime_options_of(model, runtime)(**runtime_options)
    with class_of(model)(model, runtime=runtime, device=device, options=options) as opened:
        facts = opened.info(verbose=not as_json)
    if as_json:
        print_json(facts)


def verify(
    model: Annotated[str, option("model", help="bundle folder")],
    reference: Annotated[str, option("reference", help="the checkpoint it was made from")],
    config: Config = None,
    runtime: Runtime = None,
    device: Device = "auto",
    precision: Annotated[
        str, option("precision", help="arithmetic to compare in; fp32 judges the artifact alone")
    ] = FP32,
    tolerance: Tolerance = None,
    trust: Trust = False,
    save: Annotated[bool, flag("save", help="record the result in the bundle")] = False,
    as_json: Json = False,
) -> None:
    """Compare a bundle with its checkpoint in torch; exit code 1 when it misses its tolerance."""
    record = verify_bundle(
        model,
        reference,
        config=config,
        runtime=runtime,
        device=device,
        precision=precision,
        tolerance=tolerance,
        trust=trust,
        save=save,
        progress=steps(as_json),
    )
    if as_json:
        print_json(record)
    else:
        print(verification_table(record))
    if not record.passed:
        raise typer.Exit(1)


def formats(as_json: Json = False) -> None:
    """List exporters, runtimes and the processor's arithmetic: what is usable here, and why not."""
    rows: list[tuple[str, str, Availability]] = [
        (kind, name, registry.availability(group, name))
        for kind, group, names in (
            ("format", registry.EXPORTERS, registry.exporter_names()),
            ("runtime", registry.RUNTIMES, registry.runtime_names()),
        )
        for name in names
    ]
    rows = [row for kind, name, state in rows for row in _with_devices(kind, name, state)]
    rows += [("arithmetic", name, state) for name, state in arithmetic().items()]
    if as_json:
        fields = ("devices", "reason", "install", "version")
        print_json(
            [
                {"kind": kind, "name": name, "usable": state.usable}
                | {field: getattr(state, field) for field in fields}
                for kind, name, state in rows
            ]
        )
    else:
        print(_formats_table(rows))


def _with_devices(
    kind: str, name: str, state: Availability
) -> Iterator[tuple[str, str, Availability]]:
    """A row and those of its devices that are not usable."""
    absent = state.absent()
    usable = tuple(device for device in state.devices if device not in absent)
    yield kind, name, replace(state, devices=usable)
    for device, why in absent.items():
        yield "device", f"{name}:{device}", why


def _formats_table(rows: Sequence[tuple[str, str, Availability]]) -> str:
    header = ["kind", "name", "state", "devices or reason", "version or remedy"]
    cells = [
        [kind, name, "usable", ", ".join(state.devices), state.version]
        if state.usable
        else [kind, name, "not usable", state.reason, state.install]
        for kind, name, state in rows
    ]
    return format_table(header, cells)


def command_line(words: Sequence[str]) -> typer.Typer:
    """The commands, with the options of the exporter or runtime that ``words`` name, and of label
    formats.

    Raises:
        InputError, RuntimeUnavailableError: there is none such, or it lacks its library.
    """
    app = typer.Typer(
        help="Export Segment Anything checkpoints to verified bundles and run them on the edge. "
        "key=value and --key value are the same thing.",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback(invoke_without_command=True)(_version)
    asked = list(words[:1])
    exporting = exporter_options(words) if asked == ["export"] else ExportOptions
    labelling = label_options(value_of("format", words)) if asked == ["annotate"] else ()
    running = RuntimeOptions
    if asked in (["predict"], ["track"], ["info"], ["serve"]):
        running = runtime_options_of(value_of("model", words), value_of("runtime", words))
    for command in (
        takes_options(export, exporting, "export_options"),
        takes_whole_image(takes_options(predict, running, "runtime_options")),
        track_command(running),
        annotate_command(labelling),
        takes_options(info, running, "runtime_options"),
        serve_command(running),
        verify,
        formats,
        web,
    ):
        app.command()(command)
    add_commands(app)
    return app


def exporter_options(words: Sequence[str]) -> type[ExportOptions]:
    """Options of the exporter of the format among ``words``.

    Raises:
        InputError: ``words`` ask what only another exporter can be asked.
    """
    try:
        exporter = load_exporter(value_of("format", words) or DEFAULT_FORMAT)
    except RuntimeUnavailableError:
        if HELP.isdisjoint(words):
            raise
        return ExportOptions
    # Looking at all exporters takes seconds: only for a key that nobody here knows.
    others = keys_of(words) - options_of(exporter.Options).keys() - names_of(export)
    if others:
        elsewhere = {name for options in all_options() for name in options_of(options)}
        for name in sorted(others & elsewhere):
            raise InputError(
                f"{name}={value_of(name, words)}; format={exporter.name} has no use for it, leave "
                "it out."
            )
    return exporter.Options


def main(arguments: list[str] | None = None) -> NoReturn:
    """Entry point; always leaves through :class:`SystemExit`."""
    run(command_line, arguments)
