"""``samdeploy tune``: the fastest way to run a model here that is accurate enough.

Every combination is exported and measured in processes of their own, which end when the time does.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from samdeploy.benchmarks.devices import check_device
from samdeploy.benchmarks.html import page
from samdeploy.benchmarks.jobs import Outcome
from samdeploy.benchmarks.plots import scatter_chart
from samdeploy.benchmarks.processes import (
    MeasurementError,
    OutOfTimeError,
    measure_in_process,
    run_until,
)
from samdeploy.benchmarks.records import Statistics
from samdeploy.benchmarks.tables import Table
from samdeploy.benchmarks.workbench import Say, Settings, Workbench, workbench
from samdeploy.bundle import VerificationRecord, new_bundle, read_manifest
from samdeploy.checkpoints import resolve_checkpoint
from samdeploy.devices import base_name, is_gpu
from samdeploy.errors import InputError, SamDeployError
from samdeploy.exporting.calibration import check_data
from samdeploy.families import family_of_checkpoint
from samdeploy.json_files import encode_json
from samdeploy.options import options_of
from samdeploy.precision import ARITHMETIC, FP32
from samdeploy.registry import (
    DECODER_WEIGHTS,
    EXPORTERS,
    RUNTIMES,
    availability,
    exporter_names,
    load_exporter,
    opener_of,
)
from samdeploy.schemes import schemes
from samdeploy.session import Exporter
from samdeploy.table import format_table
from samdeploy.tuning import TUNING, TUNING_PAGE, Row, Tuning, machine
from samdeploy.whole_image.settings import GPU_BATCH, WholeImageSettings

GOALS = ("whole_image", "click")
#: Prompts in a decoder call that are tried beside the default, on a processor and on a GPU.
_BATCHES, _GPU_BATCHES = (8, 16, 32), (16, 32, 128)
#: Grid points along a side of the image that is measured; a full grid has 32.
_POINTS = 16


@dataclass(frozen=True)
class TuneResult:
    """``bundle`` is a copy of the fastest one that passed, with ``tune.json`` and a picture."""

    tuning: Tuning
    bundle: Path

    def text(self) -> str:
        """The table for a terminal, the choice marked."""
        return format_table(*_table(self.tuning))


def tune(
    model: str | Path,
    *,
    target: str = "cpu",
    formats: Sequence[str] = (),
    precisions: Sequence[str] = (),
    goal: str = "whole_image",
    budget: float = 600,
    tolerance: float | None = None,
    data: str = "",
    image: str | Path | None = None,
    output: str | Path | None = None,
    progress: Say | None = None,
) -> TuneResult:
    """See :func:`samdeploy.benchmarking.tune`."""
    started = time.monotonic()
    say = progress or (lambda line: None)
    check_device(target)
    for name, given, known in (
        ("goal", (goal,), GOALS),
        ("precisions", precisions, tuple(schemes())),
    ):
        for value in given:
            if value not in known:
                raise InputError(f"{name}={value}; expected one of {', '.join(known)}.")
    if not math.isfinite(budget) or budget <= 0:
        raise InputError(f"budget={budget}; expected seconds above 0.")
    if Path(model).is_dir():
        raise InputError(f"'{model}' is a folder; tune takes a checkpoint file or a known name.")
    check_data(data)
    candidates = list(_candidates(target, formats, precisions))
    if not candidates:
        raise InputError(f"target={target}; no format can be exported and run on it here.")
    checkpoint = resolve_checkpoint(model)
    folder = Path(output) if output else Path(f"{checkpoint.stem}_tuned")
    settings = Settings(image=image, rounds=3, whole_image_rounds=3)
    with new_bundle(folder) as temporary, workbench(settings) as bench:
        search = _Search(bench, str(model), target, goal, tolerance, data, started + budget, say)
        for format, precision in candidates:
            search.add(format, precision)
        search.refine()
        chosen = search.fastest()
        if chosen is None:
            notes = "; ".join(f"{row.format} {row.made}: {row.note}" for row in search.rows)
            raise SamDeployError(
                f"nothing passed within budget={budget:g} seconds ({notes}); allow more time or "
                "another tolerance."
            )
        rows = tuple(search.rows)
        took = time.monotonic() - started
        tuning = Tuning(machine(), target, goal, chosen, rows, budget, took)
        shutil.copytree(search.folder(chosen), temporary, dirs_exist_ok=True)
        (temporary / TUNING).write_bytes(encode_json(tuning))
        (temporary / TUNING_PAGE).write_text(_html(tuning, checkpoint.name), encoding="utf-8")
    return TuneResult(tuning, folder)


def _candidates(
    target: str, formats: Sequence[str], precisions: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Format and scheme: the plain one of every format first, should the time not do for all."""
    usable: list[type[Exporter]] = []
    for name in formats or exporter_names():
        try:
            exporter = load_exporter(name)
        except SamDeployError:
            if formats:
                raise
            continue
        state = availability(RUNTIMES, exporter.runtimes[0])
        if availability(EXPORTERS, name).usable and base_name(target) in state.devices:
            usable.append(exporter)
    for name, scheme in reversed(schemes().items()):
        if precisions and name not in precisions:
            continue
        for exporter in usable:
            if options_of(exporter.Options).keys() >= scheme.options.keys():
                yield exporter.name, name


class _Search:
    """Rows as they are measured, until the deadline."""

    def __init__(
        self,
        bench: Workbench,
        model: str,
        target: str,
        goal: str,
        tolerance: float | None,
        data: str,
        deadline: float,
        say: Say,
    ) -> None:
        self.rows: list[Row] = []
        self._bench, self._model, self._target, self._goal = bench, model, target, goal
        self._tolerance, self._data, self._deadline, self._say = tolerance, data, deadline, say
        # 0: a GPU has none to choose.
        self._threads = (os.cpu_count() or 1) if target == "cpu" else 0
        self._gpu = is_gpu(target)
        self._batch = GPU_BATCH if self._gpu else WholeImageSettings.points_batch_size

    def folder(self, row: Row) -> Path:
        return self._bench.folder / f"{row.format}_{row.made}"

    def fastest(self, format: str = "") -> Row | None:
        """The fastest row of all that passed, or of those of one format."""
        passed = [row for row in self.rows if row.status == "passed" and format in ("", row.format)]
        return min(passed, key=_seconds, default=None)

    def add(self, format: str, precision: str) -> None:
        """Export, and measure what passes its gate."""
        row = Row(format, precision, self._threads, self._batch, "not tried", "no time left")
        if self._left() > 0:
            self._say(f"exporting {format}, {precision}")
            try:
                row = self._exported(row)
            except OutOfTimeError:
                row = msgspec.structs.replace(row, note="the time ended while it was exported")
        self.rows.append(self._measured(row) if row.status == "passed" else row)

    def refine(self) -> None:
        """Other arithmetic for the fastest of each format, then fewer threads and other batches for
        the fastest of all, one change at a time."""
        for format in dict.fromkeys(row.format for row in self.rows):
            exported = (row for row in self.rows if row.format == format and row.bytes)
            # A device without fp32 has none that passed.
            best = self.fastest(format) or next(exported, None)
            if best is not None:
                for name in self._lower(format):
                    row = self._verified(_unmeasured(best, name))
                    self.rows.append(self._measured(row) if row.status == "passed" else row)
        for name, values in (("threads", self._fewer()), ("points_batch_size", self._batches())):
            best = self.fastest()
            if best is not None:
                untimed = msgspec.structs.replace(best, seconds=None)
                changes: list[dict[str, Any]] = [{name: value} for value in values]
                rows = [msgspec.structs.replace(untimed, **change) for change in changes]
                self.rows += [self._measured(row) for row in rows]

    def _lower(self, format: str) -> list[str]:
        """Arithmetic that the device can be asked for beside fp32."""
        state = availability(RUNTIMES, load_exporter(format).runtimes[0])
        able = {FP32, *state.lower(self._target)}
        return [
            name
            for name, each in ARITHMETIC.items()
            if name != FP32 and each.encoder in able and (not each.kernels or self._kernels(format))
        ]

    def _kernels(self, format: str) -> bool:
        """Whether exports of a format are made with kernels, which run on the target."""
        return (
            self._target == "cpu"
            and "kernels" in options_of(load_exporter(format).Options)
            and family_of_checkpoint(resolve_checkpoint(self._model)).kernels
            and availability(RUNTIMES, opener_of(DECODER_WEIGHTS)).usable
        )

    def _fewer(self) -> tuple[int, ...]:
        # With as many threads as cores, whatever else runs there holds all of them up.
        return (self._threads // 2,) if self._threads > 1 else ()

    def _batches(self) -> tuple[int, ...]:
        tried = _GPU_BATCHES if self._gpu else _BATCHES
        return tried if self._goal == "whole_image" else ()

    def _left(self) -> float:
        return self._deadline - time.monotonic()

    def _exported(self, row: Row) -> Row:
        words = ["export", f"model={self._model}", f"format={row.format}"]
        words += [f"output={self.folder(row)}", "json=True"]
        scheme = schemes()[row.made]
        words += scheme.words.split()
        words += [f"data={self._data}"] if self._data and scheme.calibrates else []
        words += ["kernels=True"] if self._kernels(row.format) else []
        done = self._run(words)
        if done.returncode:
            note = _last_line(done)
            missed = "tolerance" in note
            return msgspec.structs.replace(row, status="missed" if missed else "failed", note=note)
        manifest = read_manifest(self.folder(row))
        size = sum(file.bytes for file in manifest.files)
        row = msgspec.structs.replace(row, bytes=size)
        record = manifest.verification
        if not record.passed:
            note = f"not verified here: {record.note}"
            return msgspec.structs.replace(row, status="failed", note=note)
        return _passed(row, record)

    def _verified(self, row: Row) -> Row:
        """``row`` in its arithmetic, which the bundle's manifest then knows."""
        if self._left() <= 0:
            return msgspec.structs.replace(row, status="not tried", note="no time left")
        self._say(f"verifying {row.format}, {row.made} in {row.arithmetic}")
        words = ["verify", f"model={self.folder(row)}", f"reference={self._model}"]
        words += [f"precision={row.arithmetic}", f"device={self._target}", "save=True", "json=True"]
        try:
            done = self._run(words)
        except OutOfTimeError:
            note = "the time ended while it was verified"
            return msgspec.structs.replace(row, status="not tried", note=note)
        record = read_manifest(self.folder(row)).verifications.get(row.arithmetic)
        if record is None:
            return msgspec.structs.replace(row, status="failed", note=_last_line(done))
        note = f"mean mask IoU {record.mask_iou_mean:.4f}, expected {record.tolerance:g} or more"
        row = _passed(row, record)
        return row if record.passed else msgspec.structs.replace(row, status="missed", note=note)

    def _run(self, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """One of our commands, in a process that ends when the time does."""
        gate = [] if self._tolerance is None else [f"tolerance={self._tolerance}"]
        return run_until(self._deadline, [sys.executable, "-m", "samdeploy", *words, *gate])

    def _measured(self, row: Row) -> Row:
        if self._left() <= 0:
            return msgspec.structs.replace(row, status="not tried", note="no time left")
        self._say(
            f"measuring {row.format}, {row.made} in {row.arithmetic}, {row.threads} threads, "
            f"{row.points_batch_size} prompts a call"
        )
        whole = {"points_stride": _POINTS, "points_batch_size": row.points_batch_size}
        job = self._bench.job(
            "samdeploy",
            self.folder(row),
            device=self._target,
            precision=row.arithmetic,
            threads=row.threads or None,
            whole_image=whole if self._goal == "whole_image" else None,
        )
        try:
            outcome = measure_in_process(job, self._bench.folder, deadline=self._deadline)
        except OutOfTimeError:
            note = "the time ended while it was measured"
            return msgspec.structs.replace(row, status="not tried", note=note)
        except MeasurementError as error:
            return msgspec.structs.replace(row, status="failed", note=str(error))
        return msgspec.structs.replace(row, seconds=self._median(outcome), ran_on=outcome.provider)

    def _median(self, outcome: Outcome) -> float:
        name = "image_to_mask" if self._goal == "click" else self._goal
        return Statistics.of(outcome.seconds[name]).median


def _unmeasured(row: Row, arithmetic: str) -> Row:
    """The same artifact in other arithmetic, of which nothing is known."""
    return msgspec.structs.replace(
        row, arithmetic=arithmetic, seconds=None, ran_on="", mask_iou_mean=None, mask_iou_p5=None
    )


def _passed(row: Row, record: VerificationRecord) -> Row:
    return msgspec.structs.replace(
        row,
        status="passed",
        note="",
        mask_iou_mean=record.mask_iou_mean,
        mask_iou_p5=record.mask_iou_p5,
    )


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"]
    return lines[-1]


def _seconds(row: Row) -> float:
    return math.inf if row.seconds is None else row.seconds


def _table(tuning: Tuning) -> tuple[list[str], list[list[str]]]:
    header = [
        "", "format", "precision", "arithmetic", "threads", "prompts a call", f"{tuning.goal}, ms",
        "MB", "mask IoU, mean", "5th percentile", "ran on", "verdict",
    ]  # fmt: skip
    cells = [
        [
            "->" if row == tuning.chosen else "",
            row.format,
            row.made,
            row.arithmetic,
            str(row.threads),
            str(row.points_batch_size),
            "-" if row.seconds is None else f"{1000 * row.seconds:.0f}",
            f"{row.bytes / 1e6:.1f}" if row.bytes else "-",
            "-" if row.mask_iou_mean is None else f"{row.mask_iou_mean:.4f}",
            "-" if row.mask_iou_p5 is None else f"{row.mask_iou_p5:.4f}",
            row.ran_on or "-",
            f"{row.status}: {row.note}" if row.note else row.status,
        ]
        for row in tuning.rows
    ]
    return header, cells


def _html(tuning: Tuning, model: str) -> str:
    points = [
        (f"{row.format} {row.made} {row.arithmetic}", 1000 * row.seconds, row.mask_iou_mean)
        for row in tuning.rows
        if row.seconds is not None and row.mask_iou_mean is not None
    ]
    chart = scatter_chart(f"{tuning.goal}, ms, against mean mask IoU", points)
    lead = f"{tuning.machine}, {tuning.device}. {tuning.took:.0f} of {tuning.budget:g} seconds."
    return page(f"Tuning of {model}", lead, [chart], [Table("What was tried", *_table(tuning))])
