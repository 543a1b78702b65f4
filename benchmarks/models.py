"""``samdeploy benchmark compare-models``: models of several families in one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from samdeploy.benchmarks.devices import check_device, why_not
from samdeploy.benchmarks.parameters import count_parameters
from samdeploy.benchmarks.random_yolo import random_yolo
from samdeploy.benchmarks.records import Case
from samdeploy.benchmarks.result import Result, check_output
from samdeploy.benchmarks.suite import check_format, exported, measured
from samdeploy.benchmarks.weights import random_checkpoint
from samdeploy.benchmarks.workbench import Say, Settings, Task, Workbench, workbench
from samdeploy.bundle import Bundle
from samdeploy.checkpoints import resolve_checkpoint
from samdeploy.devices import base_name
from samdeploy.errors import ExportError, InputError, RuntimeUnavailableError, SamDeployError
from samdeploy.opening import class_of
from samdeploy.registry import RUNTIMES, availability
from samdeploy.sam import SAM
from samdeploy.yolo.names import is_yolo_name, why_no_yolo


def compare_models(
    models: Sequence[str | Path],
    *,
    format: str = "onnx",
    device: str = "cpu",
    trust: bool = False,
    folder: str | Path | None = None,
    output: str | Path = "runs/benchmark",
    progress: Say | None = None,
    **settings: Any,
) -> Result:
    """See :func:`samdeploy.benchmarking.benchmark_models`."""
    chosen = Settings(**settings)
    if not models or len({Path(model).name for model in models}) < len(models):
        raise InputError(
            f"models={','.join(map(str, models))}; expected one or more models of different names."
        )
    check_output(Path(output))
    check_device(device)
    check_format(format)
    say = progress or (lambda line: None)
    with workbench(chosen) as bench:
        kept = bench.folder if folder is None else Path(folder)
        tasks = [_task(bench, str(model), format, device, trust, kept, say) for model in models]
        return measured(bench, "models", "comparison", tasks, None, output, say)


def _task(
    bench: Workbench, model: str, format: str, device: str, trust: bool, kept: Path, say: Say
) -> Task:
    """The row of a model, with the reason in it when it cannot be had or cannot run here."""
    case = Case(name=Path(model).stem, device=device, status="absent")
    try:
        source, note = _source(bench, model, format, trust, kept, say)
        kind = class_of(source)
        runtime = "onnxruntime"  # of a plain ONNX file
        if source.is_dir():
            manifest = Bundle.open(source).manifest
            runtime = manifest.runtime
            case = msgspec.structs.replace(
                case, architecture=manifest.architecture, precision=manifest.precision
            )
    except SamDeployError as error:
        status = "failed" if isinstance(error, ExportError) else "absent"
        return Task(msgspec.structs.replace(case, status=status, note=str(error)))
    state = availability(RUNTIMES, runtime)
    if base_name(device) not in state.devices:
        return Task(msgspec.structs.replace(case, note=why_not(runtime, state)))
    case = msgspec.structs.replace(
        case, status="ok", note=note, runtime=runtime, parameters=count_parameters(source)
    )
    subject = "samdeploy" if kind is SAM else "single_pass"
    return Task(case, bench.job(subject, source, runtime=runtime, device=device))


def _source(
    bench: Workbench, model: str, format: str, trust: bool, kept: Path, say: Say
) -> tuple[Path, str]:
    """A bundle or an ONNX file of that model, exported if need be, and what to know about it.

    Raises:
        SamDeployError: it cannot be had.
    """
    path = Path(model)
    if path.is_dir() or path.suffix == ".onnx":
        return path, ""
    note = ""
    if bench.settings.random and not path.is_file():
        if is_yolo_name(model):
            say(f"making {model} of random weights")
            bundle = random_yolo(model, format, bench.folder / f"{path.stem}_random")
            return bundle, "random weights find nothing, so no time is spent on masks"
        note = "random weights"
        checkpoint = random_checkpoint(model, bench.folder)
    elif is_yolo_name(model) and not path.is_file():
        raise RuntimeUnavailableError(why_no_yolo(model))
    else:
        checkpoint = resolve_checkpoint(model)
    say(f"exporting {checkpoint.name}")
    return exported(bench, checkpoint, format, kept, say, trust=trust).folder, note
