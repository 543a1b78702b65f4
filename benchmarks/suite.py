"""``samdeploy benchmark``: one model in several formats, each measured in a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from samdeploy.benchmarks.cpp import find_program, in_cpp
from samdeploy.benchmarks.devices import check_device, why_not
from samdeploy.benchmarks.jobs import Job
from samdeploy.benchmarks.program import CPP
from samdeploy.benchmarks.records import Case
from samdeploy.benchmarks.result import Result, check_output
from samdeploy.benchmarks.workbench import Say, Settings, Task, Workbench, workbench
from samdeploy.bundle import MANIFEST, Bundle, Manifest, read_manifest
from samdeploy.bundle_files import sha256
from samdeploy.devices import base_name
from samdeploy.errors import InputError, RuntimeUnavailableError, SamDeployError
from samdeploy.exporting.pipeline import export
from samdeploy.exporting.verify import Reference
from samdeploy.precision import ARITHMETIC, FP32, Arithmetic, arithmetic_name
from samdeploy.registry import RUNTIMES, availability, load_exporter

#: The format that needs no export: the checkpoint itself, run by torch.
TORCH = "torch"
#: The languages in which a bundle may be run.
RUNTIME_LANGUAGES = ("python", CPP)


def benchmark(
    model: str | Path,
    *,
    formats: Sequence[str] = (),
    device: Sequence[str] = ("cpu",),
    runtime: Sequence[str] = ("python",),
    cli: str | Path | None = None,
    reference: str | Path | None = None,
    folder: str | Path | None = None,
    output: str | Path = "runs/benchmark",
    progress: Say | None = None,
    **settings: Any,
) -> Result:
    """See :func:`samdeploy.benchmark`."""
    chosen = Settings(**settings)
    check_output(Path(output))
    say = progress or (lambda line: None)
    for name in device:
        check_device(name)
    for name in formats:
        check_format(name)
    languages = _languages(runtime)
    program = _program(cli, required="python" not in languages) if CPP in languages else None
    bundle = Bundle.open(model) if Path(model).is_dir() else None
    fixed = formats or chosen.random or chosen.imgsz is not None or chosen.config is not None
    if bundle is not None and fixed:
        raise InputError(f"'{model}' is a bundle; leave formats, weights, imgsz and config out.")
    if bundle is None and reference is not None:
        raise InputError(f"'{model}' is its own reference; reference= goes with a bundle.")
    with workbench(chosen) as bench:
        compared = None
        if bundle is not None:
            manifest = bundle.manifest
            tasks = [_task(bench, manifest.format, bundle, each) for each in device]
            if reference is not None:
                # The manifest knows the whole architecture, also where the checkpoint does not.
                known = {"config": manifest.config, "imgsz": manifest.image_size}
                compared = bench.reference(bench.checkpoint(reference), **known)
        else:
            checkpoint = bench.checkpoint(model)
            wanted = formats or ("onnx", TORCH)
            tasks = tasks_of_formats(bench, checkpoint, wanted, device, folder, say)
            compared = bench.reference(checkpoint)
        if program is not None:
            bundles = [task for task in tasks if task.case.name.partition(":")[0] != TORCH]
            more = [in_cpp(bench, task, program) for task in bundles]
            tasks = [*tasks, *more] if "python" in languages else more
        return measured(bench, "formats", model, tasks, compared, output, say)


def _languages(names: Sequence[str]) -> Sequence[str]:
    for name in names:
        if name not in RUNTIME_LANGUAGES:
            raise InputError(
                f"runtime={name}; expected one or both of {', '.join(RUNTIME_LANGUAGES)}."
            )
    return names


def _program(cli: str | Path | None, required: bool) -> Path | RuntimeUnavailableError:
    """The built program, or why rows will say that there is none."""
    try:
        return find_program(cli)
    except RuntimeUnavailableError as error:
        if required:
            raise
        return error


def measured(
    bench: Workbench,
    kind: str,
    model: str | Path,
    tasks: Sequence[Task],
    reference: Job | None,
    output: str | Path,
    say: Say,
) -> Result:
    """Run the tasks and write the report.

    Raises:
        RuntimeUnavailableError: none of them can run here.
    """
    if not any(task.job for task in tasks):
        reasons = "; ".join(f"{t.case.name} on {t.case.device}: {t.case.note}" for t in tasks)
        raise RuntimeUnavailableError(f"nothing can be measured here ({reasons}).")
    cases, compared = bench.run(tasks, reference, say)
    return Result.write(bench.report(kind, model, cases, compared), Path(output))


def tasks_of_formats(
    bench: Workbench,
    checkpoint: Path,
    formats: Sequence[str],
    devices: Sequence[str],
    folder: str | Path | None,
    say: Say,
) -> list[Task]:
    """Export the checkpoint to every format and plan its cases; a format that fails is a case too.

    An earlier export in ``folder`` is used again when it is of the same weights, size and
    configuration, in float32.
    """
    kept = bench.folder if folder is None else Path(folder)
    tasks = []
    # One bundle serves all arithmetic of its format.
    kernels = {name.partition(":")[0] for name in formats if arithmetic_of(name).kernels}
    for name in formats:
        format, _, _ = name.partition(":")
        source: Bundle | Path | SamDeployError = checkpoint
        if format != TORCH:
            try:
                _check_runnable(format, devices)
                source = exported(bench, checkpoint, format, kept, say, kernels=format in kernels)
            except SamDeployError as error:
                source = error
        tasks += [_task(bench, name, source, device) for device in devices]
    return tasks


def _check_runnable(format: str, devices: Sequence[str]) -> None:
    """Raise :class:`RuntimeUnavailableError` when an export would be for nothing."""
    runtime = load_exporter(format).runtimes[0]
    state = availability(RUNTIMES, runtime)
    if not any(base_name(device) in state.devices for device in devices):
        raise RuntimeUnavailableError(why_not(runtime, state))


def exported(
    bench: Workbench,
    checkpoint: Path,
    format: str,
    kept: Path,
    say: Say,
    *,
    trust: bool = False,
    kernels: bool = False,
) -> Bundle:
    """The bundle of a checkpoint in the folder ``kept``, which may hold it already; with weights
    for ``kernels`` if it has to."""
    target = kept / f"{checkpoint.stem}_{load_exporter(format).name}"
    if (target / MANIFEST).is_file():
        with suppress(SamDeployError):
            manifest = read_manifest(target)
            lacks = kernels and not manifest.options.get("kernels")
            if not lacks and _is_same(manifest, bench, checkpoint, trust):
                say(f"using {target}")
                return Bundle.open(target)
    options: dict[str, Any] = {"kernels": True} if kernels else {}
    export(
        checkpoint,
        format,
        output=target,
        imgsz=bench.settings.imgsz,
        config=bench.settings.config,
        # The comparison below says more, and a bundle that misses is a row worth seeing.
        verify="off",
        trust=trust,
        progress=say,
        **options,
    )
    return Bundle.open(target)


def arithmetic_of(name: str) -> Arithmetic:
    """That of a format with a colon; fp32 of one without."""
    return ARITHMETIC[arithmetic_name(name.partition(":")[2] or FP32)]


def _is_same(manifest: Manifest, bench: Workbench, checkpoint: Path, trust: bool) -> bool:
    """Whether an earlier export is the one that :func:`exported` would make."""
    if manifest.source.sha256 != sha256(checkpoint) or manifest.precision != FP32:
        return False
    asked = bench.settings
    facts = Reference(checkpoint, asked.config, asked.imgsz, trust).load().facts
    config = msgspec.json.decode(msgspec.json.encode(facts.config))  # as a manifest has it
    found = manifest.image_size, manifest.config, manifest.preprocess
    return found == (facts.image_size, config, facts.preprocess)


def _task(bench: Workbench, name: str, source: Bundle | Path | SamDeployError, device: str) -> Task:
    """The case of a format on a device, with the reason in it when it cannot run here."""
    precision = name.partition(":")[2]
    case = Case(name=name, device=device, status="absent")
    if isinstance(source, SamDeployError):
        status = "absent" if isinstance(source, RuntimeUnavailableError) else "failed"
        return Task(msgspec.structs.replace(case, status=status, note=str(source)))
    # Where a format has more runtimes, the others are for checking: their speed means nothing.
    runtime = source.manifest.runtime if isinstance(source, Bundle) else TORCH
    state = availability(RUNTIMES, runtime)
    if base_name(device) not in state.devices:
        return Task(msgspec.structs.replace(case, note=why_not(runtime, state)))
    made = source.manifest.precision if isinstance(source, Bundle) else "fp32"
    case = msgspec.structs.replace(case, status="ok", runtime=runtime, precision=made)
    where = {"runtime": runtime, "device": device, "precision": precision or None}
    if isinstance(source, Bundle):
        # These are fixed in a bundle.
        where |= {"imgsz": None, "config": None}
        return Task(case, bench.job("samdeploy", source.folder, **where))
    return Task(case, bench.job("samdeploy", source, **where))


def check_format(name: str) -> None:
    """Raise :class:`InputError` for a format or arithmetic that does not exist."""
    format, _, precision = name.partition(":")
    if precision and arithmetic_name(precision) not in ARITHMETIC:
        raise InputError(
            f"formats={name}; expected one of {', '.join(ARITHMETIC)} after the colon."
        )
    if format != TORCH:
        # One whose library is missing exists: its row says why it cannot run here.
        with suppress(RuntimeUnavailableError):
            load_exporter(format)
