"""Checkpoint to verified bundle: plan, graphs, open, verify, manifest, rename."""

from __future__ import annotations

import dataclasses
import datetime
import platform
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from samdeploy.bundle import (
    SCHEMA_VERSION,
    Bundle,
    GraphRecord,
    Manifest,
    SourceRecord,
    TensorRecord,
    VerificationRecord,
    file_record,
    new_bundle,
    write_manifest,
)
from samdeploy.bundle_files import sha256
from samdeploy.calibration import calibration_inputs, check_data
from samdeploy.checkpoints import KNOWN, TINY, resolve_checkpoint
from samdeploy.errors import InputError, RuntimeUnavailableError
from samdeploy.fallback import Attempt, nearest, repair
from samdeploy.graphs import ENCODER, Specs, needed_roles
from samdeploy.layer_names import check_layers
from samdeploy.opening import open_graphs, own_runtime
from samdeploy.precision import F32
from samdeploy.registry import (
    EXPORTERS,
    RUNTIMES,
    availability,
    exporter_names,
    load_exporter,
)
from samdeploy.session import Exporter, ExportOptions, RuntimeOptions, TensorSpec
from samdeploy.verify import check, gate, verify_sessions
from samdeploy.yolo.verify import verify_yolo

if TYPE_CHECKING:
    from samdeploy.models.families import ModelFacts

_MODES = ("error", "warn", "off")
_PALETTE_BITS = (4, 6, 8)
#: Distributions whose versions the manifest records when they are installed.
_TOOLS = (
    "samdeploy", "torch", "numpy", "onnx", "onnxsim", "onnxruntime", "openvino", "nncf",
    "coremltools", "tensorrt", "tensorrt_rtx_cu13_libs", "ultralytics",
)  # fmt: skip


def export(
    model: str | Path,
    format: str = "onnx",
    *,
    output: str | Path | None = None,
    imgsz: int | None = None,
    config: Mapping[str, Any] | str | Path | None = None,
    verify: str = "error",
    tolerance: float | None = None,
    device: str = "auto",
    trust: bool = False,
    progress: Callable[[str], None] | None = None,
    **options: Any,
) -> Path:
    """Write the bundle of a checkpoint and return its folder.

    Args:
        model: a checkpoint by path or known name.
        format: what to export to; ``samdeploy formats`` lists them.
        output: folder of the bundle; by default ``<name>_<format>`` in the current folder.
        imgsz: side of the encoder input in pixels; by default the checkpoint's.
        config: architecture details that tensor shapes cannot tell.
        verify: ``error`` (a bundle that misses its tolerance is not written), ``warn`` or ``off``.
            Where no runtime for the format works on this machine, the manifest says so.
        tolerance: smallest mean mask IoU against torch; by default 0.999 for float32, 0.995 for
            float16 and bf16, and 0.97 for int8 and palettes.
        device: device that the verification runs on.
        trust: load an Ultralytics checkpoint (through that package, AGPL-3.0), although loading it
            executes code of the file. No other checkpoint needs it.
        progress: called with a line of text at every step.
        options: ``opset``, ``half``, ``bf16``, ``int8`` and what else the format heeds; see
            :class:`samdeploy.session.ExportOptions`.

    An int8 bundle that misses its tolerance is exported again with the worst layers in float, which
    ``float_layers`` in the manifest's options names; what then fails says which option passes.

    Raises:
        SamDeployError: any subclass; nothing is left behind.
    """
    if verify not in _MODES:
        raise InputError(f"verify='{verify}'; expected one of {', '.join(_MODES)}.")
    exporter = load_exporter(format)
    state = availability(EXPORTERS, format)
    if not state.usable:
        raise RuntimeUnavailableError(
            f"format '{format}' cannot be exported here: {state.reason}; {state.install}."
        )
    chosen = _chosen_options(exporter, options)
    gate(chosen.precision, tolerance=tolerance)
    say = progress or (lambda line: None)
    if Path(model).is_dir():
        raise InputError(f"'{model}' is a folder; export takes a checkpoint file or a known name.")
    checkpoint = resolve_checkpoint(model)
    folder = Path(output) if output else Path(f"{checkpoint.stem}_{exporter.name}")
    # Torch is imported here and not above: running a bundle must not need it.
    from samdeploy.models import graph_modules
    from samdeploy.models.families import load_model, model_facts
    from samdeploy.models.sensitivity import encoder_layers

    if _calibrated(exporter, chosen) and not chosen.data:
        say(
            "warning: calibrating int8 with generated scenes; images of your own task are better: "
            "data=FOLDER"
        )
    with new_bundle(folder) as temporary:

        def build(options: ExportOptions) -> Attempt:
            _empty(temporary)
            say(f"reading {checkpoint.name}")
            loaded = load_model(checkpoint, config=config, imgsz=imgsz, trust=trust)
            facts = model_facts(loaded, checkpoint)
            if (options.int8 or options.palette_bits) and facts.family != "sam":
                given = "int8=True" if options.int8 else f"palette_bits={options.palette_bits}"
                raise InputError(
                    f"{given}; it is for SAM's image encoder and '{model}' is a "
                    f"{facts.architecture} model, leave it out."
                )
            if options.float_layers:
                check_layers(options.float_layers, encoder_layers(loaded))
            source = _source(model, checkpoint, facts.licence)
            options = dataclasses.replace(options, metadata=_metadata(facts, source))
            say(f"exporting {facts.architecture} to {exporter.name}, {options.precision}")
            write = exporter().export
            modules = graph_modules(loaded).values()
            graphs = tuple(write(graph, temporary, options) for graph in modules)
            del (
                loaded,
                modules,
            )  # the reference below reads the checkpoint again: one copy at a time
            record = VerificationRecord(passed=False, mode="off")
            runtime, why_none = _usable_runtime(exporter.runtimes)
            if verify != "off" and runtime is None:
                record = VerificationRecord(passed=False, mode="not run", note=why_none)
            elif verify != "off" and runtime is not None:
                record = _compare(
                    checkpoint,
                    {graph.role: temporary / graph.files[0] for graph in graphs},
                    runtime,
                    precision=options.precision,
                    config=config,
                    imgsz=imgsz,
                    device=device,
                    tolerance=tolerance,
                    trust=trust,
                    whole_image=facts.whole_image,
                    say=say,
                )
                record = msgspec.structs.replace(record, mode=verify)
            return Attempt(options, facts, source, graphs, record)

        def rank() -> Mapping[str, float]:
            from samdeploy.models.load import load_sam
            from samdeploy.models.sensitivity import sensitivity

            sam = load_sam(checkpoint, config=config, imgsz=imgsz)
            images = islice(calibration_inputs(chosen.data, sam.config.image_size), 2)
            return sensitivity(sam, [*images], activations=_calibrated(exporter, chosen))

        attempt = build(chosen)
        if attempt.record.mode == "error" and not attempt.record.passed:
            if chosen.int8 and not chosen.float_layers:
                attempt = repair(attempt, build, rank, say)
            if not attempt.record.passed:
                check(attempt.record, nearest(chosen, exporter.options, build))
        write_manifest(temporary, _manifest(temporary, exporter, attempt))
    return folder


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _chosen_options(exporter: type[Exporter], given: Mapping[str, Any]) -> ExportOptions:
    defaults = {
        field.name: field.default
        for field in dataclasses.fields(ExportOptions)
        if field.name != "metadata"
    }
    for name, value in given.items():
        if name not in defaults:
            raise InputError(f"unknown option '{name}'; expected one of {', '.join(defaults)}.")
        if value != defaults[name] and name not in exporter.options:
            raise InputError(
                f"{name}={value}; format={exporter.name} has no use for it, leave it out."
            )
    chosen = ExportOptions(**given)
    for name in ("data", "float_layers", "weights_only"):
        if getattr(chosen, name) and not chosen.int8:
            raise InputError(f"{name}= is for int8=True; add that or leave {name} out.")
    if chosen.weights_only and chosen.data:
        raise InputError(
            f"data={chosen.data}; weights_only=True calibrates nothing, leave one of them out."
        )
    if chosen.palette_bits not in (0, *_PALETTE_BITS):
        raise InputError(f"palette_bits={chosen.palette_bits}; expected 4, 6 or 8.")
    if chosen.palette_bits and chosen.int8:
        raise InputError(
            f"int8=True palette_bits={chosen.palette_bits}; expected one of them, leave the other "
            "out."
        )
    if chosen.half and chosen.bf16:
        raise InputError("half=True bf16=True; expected one of them, leave the other out.")
    check_data(chosen.data)
    return chosen


def _calibrated(exporter: type[Exporter], options: ExportOptions) -> bool:
    """Whether activations become 8-bit, which takes images."""
    return options.int8 and not options.weights_only and "data" in exporter.options


def _usable_runtime(names: tuple[str, ...]) -> tuple[str | None, str]:
    """The first runtime that works here, or why not even the preferred one does."""
    states = {name: availability(RUNTIMES, name) for name in names}
    for name, state in states.items():
        if state.usable:
            return name, ""
    first = states[names[0]]
    return None, f"built, not executed: runtime '{names[0]}' is not usable here ({first.reason})"


def _compare(
    checkpoint: Path,
    paths: Mapping[str, Path],
    runtime: str,
    *,
    precision: str,
    config: Mapping[str, Any] | str | Path | None,
    imgsz: int | None,
    device: str,
    tolerance: float | None,
    trust: bool,
    whole_image: Mapping[str, Any],
    say: Callable[[str], None] | None,
    arithmetic: str = F32,
    recorded: Mapping[str, Specs] | None = None,
) -> VerificationRecord:
    options = RuntimeOptions(precision=arithmetic)
    candidate, _ = open_graphs(paths, runtime, device, options, recorded)
    reference, _ = open_graphs(
        dict.fromkeys(needed_roles(paths), checkpoint),
        "torch",
        "cpu",
        RuntimeOptions(imgsz=imgsz, config=config, trust=trust),
    )
    compare = partial(verify_sessions, whole_image=whole_image) if ENCODER in paths else verify_yolo
    try:
        return compare(
            reference,
            candidate,
            precision=precision,
            arithmetic=arithmetic,
            tolerance=tolerance,
            progress=say,
        )
    finally:
        for session in (*candidate.values(), *reference.values()):
            session.close()


def verify_bundle(
    bundle: str | Path,
    reference: str | Path,
    *,
    config: Mapping[str, Any] | str | Path | None = None,
    runtime: str | None = None,
    device: str = "auto",
    precision: str = F32,
    tolerance: float | None = None,
    trust: bool = False,
    save: bool = False,
    progress: Callable[[str], None] | None = None,
) -> VerificationRecord:
    """Compare a bundle with a checkpoint in torch; a difference is in the record, not raised.

    Args:
        runtime: by default the bundle's own, or where that cannot run, another that its exporter
            names for checking; ``progress`` and the record say which.
        precision: arithmetic to compute in; what is lower than the artifact has to reach the
            tolerance of an artifact of that precision.
        trust: for Ultralytics checkpoints, see :func:`export`.
        save: write the record into the bundle's manifest, in the place of an earlier one of the
            same arithmetic: an engine that was built on another machine is then known to be right
            on this one, and arithmetic that passed can be used without a warning.
    """
    opened = Bundle.open(bundle)
    manifest = opened.manifest
    gate(manifest.precision, tolerance=tolerance)
    checkpoint = resolve_checkpoint(reference)
    say = progress or (lambda line: None)
    chosen = runtime or _checking_runtime(opened, say)
    if config is None and manifest.family == "sam":
        # The manifest knows the whole architecture, also where the checkpoint does not tell it.
        config = manifest.config
    record = _compare(
        checkpoint,
        opened.graphs(),
        chosen,
        precision=manifest.precision,
        config=config,
        imgsz=manifest.image_size,
        device=device,
        tolerance=tolerance,
        trust=trust,
        whole_image=manifest.whole_image,
        say=say,
        arithmetic=precision,
        recorded=opened.specs(),
    )
    if save:
        write_manifest(opened.folder, manifest.with_verification(record))
    return record


def _checking_runtime(bundle: Bundle, say: Callable[[str], None]) -> str:
    own = own_runtime(bundle)
    state = availability(RUNTIMES, own)
    if state.usable or bundle.manifest.format not in exporter_names():
        return own  # where it is not usable either, opening it says why
    other, _ = _usable_runtime(load_exporter(bundle.manifest.format).runtimes)
    if other is None:
        return own
    say(f"runtime '{own}' is not usable here ({state.reason}); checking with '{other}'")
    return other


def _source(model: str | Path, checkpoint: Path, licence: str) -> SourceRecord:
    digest = sha256(checkpoint)
    for known in KNOWN.values():
        if digest == known.sha256:
            return SourceRecord(known.name, digest, known.licence, known.url)
    own = "Apache-2.0" if str(model) == TINY else "unknown"
    return SourceRecord(checkpoint.name, digest, licence or own)


def _metadata(facts: ModelFacts, source: SourceRecord) -> dict[str, str]:
    return {
        **facts.metadata,
        "version": _version("samdeploy"),
        "architecture": facts.architecture,
        "image_size": str(facts.image_size),
        "source": source.name,
        "source_sha256": source.sha256,
        "licence": source.licence,
    }


def _manifest(folder: Path, exporter: type[Exporter], attempt: Attempt) -> Manifest:
    facts, options = attempt.facts, attempt.options
    return Manifest(
        schema_version=SCHEMA_VERSION,
        family=facts.family,
        architecture=facts.architecture,
        image_size=facts.image_size,
        embedding_channels=facts.embedding_channels,
        format=exporter.name,
        runtime=exporter.runtimes[0],
        precision=options.precision,
        graphs=tuple(
            GraphRecord(
                graph.role,
                tuple(file_record(folder, path) for path in graph.files),
                _tensors(graph.inputs),
                _tensors(graph.outputs),
                dict(graph.options),
            )
            for graph in attempt.graphs
        ),
        source=attempt.source,
        config=facts.config,
        options={name: getattr(options, name) for name in sorted(exporter.options)},
        tools={
            "python": platform.python_version(),
            **{name: found for name in _TOOLS if (found := _version(name))},
        },
        verification=attempt.record,
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        whole_image=facts.whole_image,
    )


def _tensors(specs: tuple[TensorSpec, ...]) -> tuple[TensorRecord, ...]:
    return tuple(TensorRecord(spec.name, spec.shape, spec.dtype) for spec in specs)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
