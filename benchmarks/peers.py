"""``samdeploy benchmark peers``: others and ours in one run, on the same weights and image.

No peer is a dependency. One that is not installed is a row that says how to install it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from samdeploy.benchmarks.environment import installed
from samdeploy.benchmarks.peer_registry import PEERS
from samdeploy.benchmarks.processes import MALLOCS, MeasurementError, prepare_in_process
from samdeploy.benchmarks.records import Case
from samdeploy.benchmarks.result import Result, check_output
from samdeploy.benchmarks.suite import check_format, measured, tasks_of_formats
from samdeploy.benchmarks.workbench import Say, Settings, Task, Workbench, workbench
from samdeploy.errors import InputError


def peers(
    model: str | Path,
    *,
    peers: Sequence[str] = (),
    formats: Sequence[str] = ("onnx", "openvino"),
    malloc: Sequence[str] = MALLOCS,
    folder: str | Path | None = None,
    output: str | Path = "runs/benchmark",
    progress: Say | None = None,
    **settings: Any,
) -> Result:
    """See :func:`samdeploy.benchmarking.benchmark_peers`."""
    say = progress or (lambda line: None)
    chosen = Settings(**settings)
    check_output(Path(output))
    for name in peers:
        if name not in PEERS:
            raise InputError(f"peers={name}; expected one or more of {', '.join(PEERS)}.")
    for name in malloc:
        if name not in MALLOCS:
            raise InputError(f"malloc={name}; expected one or both of {', '.join(MALLOCS)}.")
    for name in formats:
        check_format(name)
    # Their own choices differ, and one of them takes fewer than there are.
    chosen = replace(chosen, threads=chosen.threads or os.cpu_count())
    with workbench(chosen) as bench:
        checkpoint = bench.checkpoint(model)
        architecture = _architecture(checkpoint)
        tasks = tasks_of_formats(bench, checkpoint, formats, ["cpu"], folder, say)
        for name in peers or PEERS:
            tasks += tasks_of_peer(bench, name, checkpoint, architecture, malloc, say)
        return measured(bench, "peers", model, tasks, bench.reference(checkpoint), output, say)


def _architecture(checkpoint: Path) -> str:
    """The published architecture of a checkpoint.

    Raises:
        InputError: it is of none, so no peer can run it.
    """
    from samdeploy.models.families import load_model

    found = load_model(checkpoint).facts.architecture
    known = dict.fromkeys(name for peer in PEERS.values() for name in peer.architectures)
    if found not in known:
        raise InputError(
            f"'{checkpoint}' is of architecture '{found}', which no peer runs; expected one of "
            f"{', '.join(known)}."
        )
    return found


def tasks_of_peer(
    bench: Workbench,
    name: str,
    checkpoint: Path,
    architecture: str,
    mallocs: Sequence[str],
    say: Say,
) -> list[Task]:
    """A peer under each allocator, or one row that says why it cannot run."""
    peer = PEERS[name]
    case = Case(name=name, device="cpu", status="absent")
    if architecture not in peer.architectures:
        return [Task(_noted(case, f"{peer.title} does not run {architecture}"))]
    missing = [each for each in peer.needs(architecture) if not installed(each)]
    if missing:
        line = f"pip install {' '.join(missing)}"
        return [Task(_noted(case, f"{peer.title} is not installed; {line}"))]
    job = bench.job(name, checkpoint, architecture=architecture)
    say(f"preparing {name}")
    try:
        made = prepare_in_process(job, bench.folder)
    except MeasurementError as error:
        return [Task(msgspec.structs.replace(case, status="failed", note=str(error)))]
    job = msgspec.structs.replace(job, model=made)
    return [
        Task(msgspec.structs.replace(case, status="ok", precision="fp32", malloc=malloc), job)
        for malloc in mallocs
    ]


def _noted(case: Case, note: str) -> Case:
    return msgspec.structs.replace(case, note=note)
