"""The ``samdeploy`` command.

``key=value`` and ``--key value`` mean the same. Exit codes: 0 done, 1 failed, 2 bad input. Errors
are one sentence on standard error; set ``SAMDEPLOY_DEBUG=1`` for the traceback.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import typer

from samdeploy import registry
from samdeploy.arguments import load_mask, parse_numbers, rewrite
from samdeploy.bundle import VerificationRecord, read_manifest
from samdeploy.errors import SamDeployError
from samdeploy.export_pipeline import export as export_bundle
from samdeploy.export_pipeline import verify_bundle
from samdeploy.predict_files import next_folder, predict_files
from samdeploy.prompts import collect_prompts
from samdeploy.sam import SAM
from samdeploy.settings import WholeImageSettings
from samdeploy.table import format_table

app = typer.Typer(
    help="Export Segment Anything checkpoints to verified bundles and run them on the edge.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _option(*names: str, help: str) -> Any:
    return typer.Option(*(f"--{name}" for name in names), help=help)


def _flag(name: str, help: str) -> Any:
    return typer.Option(f"--{name}/--no-{name}", help=help)


_DEFAULTS = WholeImageSettings()

Model = Annotated[str, _option("model", help="bundle folder, checkpoint file or known name")]
Device = Annotated[str, _option("device", help="auto, cpu, cuda, ...")]
Runtime = Annotated[str | None, _option("runtime", help="default: what the bundle was made for")]
Threads = Annotated[int | None, _option("threads", help="CPU threads of one inference")]
Imgsz = Annotated[int | None, _option("imgsz", help="input side in pixels (checkpoints only)")]
Config = Annotated[str | None, _option("config", help="JSON with architecture details")]
Json = Annotated[bool, _flag("json", help="print JSON for machines")]


@app.command()
def export(
    model: Annotated[str, _option("model", help="checkpoint file or known name")],
    format: Annotated[str, _option("format", help="see: samdeploy formats")] = "onnx",
    output: Annotated[str | None, _option("output", help="default: ./<name>_<format>")] = None,
    imgsz: Imgsz = None,
    opset: Annotated[int, _option("opset", help="ONNX operator set")] = 17,
    simplify: Annotated[bool, _flag("simplify", help="fold constants out of the graphs")] = True,
    half: Annotated[bool, _flag("half", help="float16 weights where the format can")] = False,
    config: Config = None,
    verify: Annotated[str, _option("verify", help="error, warn or off")] = "error",
    tolerance: Annotated[float | None, _option("tolerance", help="smallest mean mask IoU")] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Write a checkpoint as a verified bundle."""
    folder = export_bundle(
        model,
        format,
        output=output,
        imgsz=imgsz,
        opset=opset,
        simplify=simplify,
        half=half,
        config=config,
        verify=verify,
        tolerance=tolerance,
        device=device,
        progress=_say,
    )
    manifest = read_manifest(folder)
    if as_json:
        _print_json({"bundle": str(folder), "verification": manifest.verification})
        return
    print(_verification_table(manifest.verification))
    size = sum(record.bytes for graph in manifest.graphs for record in graph.files)
    print(f"wrote {folder} ({size / 1e6:.1f} MB)")
    if not manifest.verification.passed and verify == "warn":
        _say("warning: the bundle missed its tolerance")


@app.command()
def predict(
    model: Model,
    source: Annotated[str, _option("source", help="image, video, folder or glob pattern")],
    points: Annotated[str | None, _option("points", help="[x,y] or [[x,y],...] pixels")] = None,
    labels: Annotated[str | None, _option("labels", help="1 foreground, 0 background")] = None,
    bboxes: Annotated[str | None, _option("bboxes", help="[x1,y1,x2,y2] or several")] = None,
    masks: Annotated[str | None, _option("masks", help="image file of a mask prompt")] = None,
    multimask: Annotated[bool, _flag("multimask", help="three masks a prompt")] = False,
    output: Annotated[str | None, _option("output", help="default: runs/predict, 2, 3...")] = None,
    runtime: Runtime = None,
    device: Device = "auto",
    threads: Threads = None,
    imgsz: Imgsz = None,
    config: Config = None,
    points_stride: Annotated[
        int, _option("points_stride", "points_per_side", help="grid points along a side")
    ] = _DEFAULTS.points_stride,
    points_batch_size: Annotated[
        int, _option("points_batch_size", "points_per_batch", help="prompts in a decoder call")
    ] = _DEFAULTS.points_batch_size,
    conf_thres: Annotated[
        float, _option("conf_thres", "conf", "pred_iou_thresh", help="least predicted IoU")
    ] = _DEFAULTS.conf_thres,
    stability_score_thresh: Annotated[
        float, _option("stability_score_thresh", help="least stability score")
    ] = _DEFAULTS.stability_score_thresh,
    stability_score_offset: Annotated[
        float, _option("stability_score_offset", help="logit shift of the stability score")
    ] = _DEFAULTS.stability_score_offset,
    nms_thresh: Annotated[
        float, _option("nms_thresh", "box_nms_thresh", help="IoU of duplicates")
    ] = _DEFAULTS.nms_thresh,
    crop_n_layers: Annotated[
        int, _option("crop_n_layers", help="layers of crops")
    ] = _DEFAULTS.crop_n_layers,
    crop_nms_thresh: Annotated[
        float, _option("crop_nms_thresh", help="IoU of duplicates between crops")
    ] = _DEFAULTS.crop_nms_thresh,
    crop_overlap_ratio: Annotated[
        float, _option("crop_overlap_ratio", help="overlap of crops")
    ] = _DEFAULTS.crop_overlap_ratio,
    crop_downscale_factor: Annotated[
        int,
        _option(
            "crop_downscale_factor", "crop_n_points_downscale_factor", help="fewer points per layer"
        ),
    ] = _DEFAULTS.crop_downscale_factor,
    min_mask_region_area: Annotated[
        int, _option("min_mask_region_area", help="smaller holes and islands are removed")
    ] = _DEFAULTS.min_mask_region_area,
    as_json: Json = False,
) -> None:
    """Segment by points, boxes or a mask; without any of them, the whole image."""
    given = {
        "points": parse_numbers(points, "points"),
        "labels": parse_numbers(labels, "labels"),
        "bboxes": parse_numbers(bboxes, "bboxes"),
        "masks": load_mask(masks),
    }
    prompted = any(value is not None for value in given.values())
    prompts = collect_prompts(**given) if prompted else []
    settings = {
        "points_stride": points_stride,
        "points_batch_size": points_batch_size,
        "conf_thres": conf_thres,
        "stability_score_thresh": stability_score_thresh,
        "stability_score_offset": stability_score_offset,
        "nms_thresh": nms_thresh,
        "crop_n_layers": crop_n_layers,
        "crop_nms_thresh": crop_nms_thresh,
        "crop_overlap_ratio": crop_overlap_ratio,
        "crop_downscale_factor": crop_downscale_factor,
        "min_mask_region_area": min_mask_region_area,
    }
    WholeImageSettings.from_names(settings)  # refuse a bad value before a model is opened
    folder = Path(output) if output else next_folder(Path("runs"), "predict")
    written = []
    with SAM(
        model, runtime=runtime, device=device, threads=threads, imgsz=imgsz, config=config
    ) as sam:
        providers = ", ".join(sorted(set(sam.info()["providers"].values())))
        _say(f"{model} on {providers}")
        for result in predict_files(sam, source, folder, prompts, settings, multimask):
            written.append(
                {
                    "image": result.name,
                    "masks": len(result.masks),
                    "scores": [round(float(score), 4) for score in result.masks.scores],
                    "picture": str(result.picture),
                    "json": str(result.record),
                }
            )
            if not as_json:
                count = len(result.masks)
                best = max((float(score) for score in result.masks.scores), default=0.0)
                print(
                    f"{result.name}: {count} mask{'s' * (count != 1)}, best predicted IoU "
                    f"{best:.3f}, {result.seconds * 1000:.0f} ms -> {result.picture}"
                )
    if as_json:
        _print_json(written)


@app.command()
def info(
    model: Model,
    runtime: Runtime = None,
    device: Device = "auto",
    imgsz: Imgsz = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Say what a bundle or checkpoint is and what would run it."""
    with SAM(model, runtime=runtime, device=device, imgsz=imgsz, config=config) as sam:
        facts = sam.info()
    if as_json:
        _print_json(facts)
        return
    print(format_table([], [[name, _plain(value)] for name, value in facts.items()]))


@app.command()
def verify(
    model: Annotated[str, _option("model", help="bundle folder")],
    reference: Annotated[str, _option("reference", help="the checkpoint it was made from")],
    config: Config = None,
    device: Device = "auto",
    tolerance: Annotated[float | None, _option("tolerance", help="smallest mean mask IoU")] = None,
    as_json: Json = False,
) -> None:
    """Compare a bundle with its checkpoint in torch; exit code 1 when it misses its tolerance."""
    record = verify_bundle(
        model, reference, config=config, device=device, tolerance=tolerance, progress=_say
    )
    if as_json:
        _print_json(record)
    else:
        print(_verification_table(record))
    if not record.passed:
        raise typer.Exit(1)


@app.command()
def formats(as_json: Json = False) -> None:
    """List exporters and runtimes: what is usable here, and why not."""
    rows = [
        (kind, name, registry.availability(group, name))
        for kind, group, names in (
            ("format", registry.EXPORTERS, registry.exporter_names()),
            ("runtime", registry.RUNTIMES, registry.runtime_names()),
        )
        for name in names
    ]
    if as_json:
        _print_json(
            [
                {
                    "kind": kind,
                    "name": name,
                    "usable": state.usable,
                    "devices": list(state.devices),
                    "version": state.version,
                    "reason": state.reason,
                    "install": state.install,
                }
                for kind, name, state in rows
            ]
        )
        return
    cells = [
        [
            kind,
            name,
            "usable" if state.usable else "not usable",
            ", ".join(state.devices) if state.usable else state.reason,
            state.version if state.usable else state.install,
        ]
        for kind, name, state in rows
    ]
    print(format_table(["kind", "name", "state", "devices or reason", "version or remedy"], cells))


def _verification_table(record: VerificationRecord) -> str:
    if record.mode == "off":
        return "not verified (verify=off)"
    return format_table(
        ["against torch", "value"],
        [
            ["verdict", "passed" if record.passed else "MISSED"],
            ["mask IoU, mean", f"{record.mask_iou_mean:.6f} (at least {record.tolerance:g})"],
            ["mask IoU, worst", f"{record.mask_iou_min:.6f}"],
            ["embedding cosine", f"{record.embedding_cosine:.8f}"],
            ["embedding, largest relative error", f"{record.embedding_max_error:.1e}"],
            ["logits, largest relative error", f"{record.logits_max_error:.1e}"],
            ["predicted IoU, largest error", f"{record.iou_prediction_max_error:.1e}"],
            ["images, prompts", f"{record.images}, {record.prompts}"],
            ["ran on", record.provider],
        ],
    )


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {item}" for key, item in value.items())
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _say(line: str) -> None:
    """Progress goes to standard error, so that results can be piped."""
    print(line, file=sys.stderr)


def _print_json(value: Any) -> None:
    print(json.dumps(msgspec.to_builtins(value), indent=2))


def _flags(command: Any) -> frozenset[str]:
    """Names of the yes/no options of all commands."""
    return frozenset(
        name.removeprefix("--")
        for sub in command.commands.values()
        for parameter in sub.params
        if getattr(parameter, "is_flag", False)
        for name in parameter.opts
    )


def _stop(number: int, frame: object) -> NoReturn:
    # An exception, so that temporary files are removed on the way out.
    raise SystemExit(128 + number)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Entry point; always leaves through :class:`SystemExit`."""
    signal.signal(signal.SIGTERM, _stop)
    command = typer.main.get_command(app)
    given = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        code = command.main(
            rewrite(given, _flags(command)), prog_name="samdeploy", standalone_mode=False
        )
        raise SystemExit(code if isinstance(code, int) else 0)
    except SamDeployError as error:
        _fail(error, str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort) as error:
        _fail(error, "interrupted; nothing half-written was left.", 130)
    except Exception as error:
        # Typer brings its own Click in some versions: its usage errors are known by their method.
        usage = getattr(error, "format_message", None)
        if usage is not None:
            _fail(error, " ".join(usage().split()), 2)
        _fail(error, f"unexpected {type(error).__name__}: {error}", 1)


def _fail(error: BaseException, sentence: str, code: int) -> NoReturn:
    if os.environ.get("SAMDEPLOY_DEBUG"):
        raise error
    print(f"error: {sentence}", file=sys.stderr)
    raise SystemExit(code) from error
