"""A report as tables: for a terminal, in the convention of ``yolo benchmark``, and as Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from samdeploy.benchmarks.measure import MEANING
from samdeploy.benchmarks.records import Case, Conditions, Environment, Report, Statistics
from samdeploy.table import format_table

#: As ``yolo benchmark`` marks them; the last is what cannot run on this machine.
MARKS = {"ok": "✅", "failed": "❌", "absent": "❎"}
_NONE = "-"
#: Stages whose peak memory is shown; the first three add up in one process.
_PEAKS = ("encode", "click", "prompts", "whole_image")


class Table(NamedTuple):
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def tables(report: Report) -> Iterator[Table]:
    """Every table of a report, in order."""
    if report.kind == "models":
        yield Table(
            "Models, and what others published for them on another machine", *_models(report)
        )
    else:
        yield Table("Results", *_results(report.cases))
    yield Table("Latency in ms, median ± interquartile range", *_timings(report))
    if report.kind == "peers":
        yield Table(
            "Ratios: how many times as long, or as much memory, a peer takes as samdeploy",
            *_ratios(report.cases),
        )
    notes = [[case.label, case.device, case.note] for case in report.cases if case.note]
    if notes:
        yield Table("Notes", ["case", "device", "note"], notes)
    yield Table(
        "Published by others, on another machine: for orientation, not a baseline",
        ["model", "ms per image", "size (MB)", "measured", "conditions", "source"],
        [
            [p.name, f"{p.milliseconds:g}", f"{p.megabytes:g}", p.measures, p.conditions, p.source]
            for p in report.published
        ],
    )
    yield Table("Conditions", ["", ""], conditions(report))
    yield Table(
        "Devices",
        ["device", "what", "offered by", "why not"],
        [
            [d.name, d.meaning, ", ".join(d.runtimes) or _NONE, d.reason or _NONE]
            for d in report.devices
        ],
    )
    yield Table("What is timed", ["timing", "covers"], [list(pair) for pair in MEANING.items()])


def text_tables(report: Report) -> str:
    """The tables of a terminal: results, latency, ratios, notes and published figures."""
    shown = [table for table in tables(report) if not table.title.startswith(_ONLY_IN_FILES)]
    parts = [f"{table.title}\n{format_table(*_narrow(table))}" for table in shown]
    return "\n\n".join(parts)


_ONLY_IN_FILES = ("Conditions", "Devices", "What is timed")


def _narrow(table: Table) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Leave what is long in the published figures to the files."""
    if not table.title.startswith("Published"):
        return table.header, table.rows
    return table.header[:5], [[*row[:3], row[3].rpartition(": ")[2], row[4]] for row in table.rows]


def markdown(report: Report) -> str:
    parts = [f"# Benchmark of {report.model}", f"Weights: {report.weights}. {report.created}."]
    for table in tables(report):
        lines = [table.header, ["---"] * len(table.header), *table.rows]
        cells = [
            "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines
        ]
        parts += [f"## {table.title}", "\n".join(cells)]
    return "\n\n".join(parts) + "\n"


def conditions(report: Report) -> list[list[str]]:
    """Name and value of everything that a figure depends on."""
    given, machine = report.conditions, report.environment
    return [
        ["weights", report.weights],
        ["masks compared with", report.reference],
        *_conditions(given),
        *_environment(machine),
    ]


def _conditions(given: Conditions) -> list[list[str]]:
    height, width = given.image_size
    mode = given.whole_image
    settings = ", ".join(f"{name}={value}" for name, value in (mode or {}).items())
    return [
        ["image", f"{width} x {height} pixels, SHA-256 {given.image_sha256[:12]}"],
        ["encoder input", f"{given.imgsz} pixels" if given.imgsz else "the model's own"],
        ["configuration", json.dumps(given.config) if given.config else "the model's own"],
        ["threads", "chosen by the backend" if given.threads is None else str(given.threads)],
        [
            "rounds",
            f"{given.repeats} process{'es' * (given.repeats > 1)} of {given.rounds} rounds after "
            f"{given.warmup} of warm-up, {given.whole_image_rounds} of whole-image mode",
        ],
        ["whole image", settings or "left out"],
        [
            "decoder outputs",
            "replaced by discs and uniform predicted IoUs in whole-image mode"
            if given.substituted
            else "the model's own",
        ],
    ]


def _environment(machine: Environment) -> list[list[str]]:
    gpus = [f"{gpu.name} (driver {gpu.driver}, {_gb(gpu.memory_bytes)})" for gpu in machine.gpus]
    return [
        ["processor", f"{machine.cpu}, {machine.logical_cpus} logical CPUs"],
        ["instruction sets", ", ".join(machine.cpu_flags) or "unknown"],
        ["memory", _gb(machine.memory_bytes)],
        ["GPU", ", ".join(gpus) or "none with an NVIDIA driver"],
        ["system", machine.system],
        ["versions", ", ".join(f"{name} {found}" for name, found in machine.versions.items())],
    ]


def _results(cases: Sequence[Case]) -> tuple[list[str], list[list[str]]]:
    header = [
        "Format", "Status❔", "Device", "Size (MB)", "mask IoU (mean)", "(least)", "masks",
        *(f"peak {stage} (GB)" for stage in _PEAKS), "peak GPU (GB)", "precision", "ran on",
    ]  # fmt: skip
    rows = [
        [
            case.label,
            MARKS[case.status],
            case.device,
            _number(case.artifact_bytes, 1e6, ".1f"),
            _number(case.mask_iou_mean, 1, ".4f"),
            _number(case.mask_iou_min, 1, ".4f"),
            _number(case.masks, 1, "d"),
            *(_number(case.peaks.get(stage), 1e9, ".2f") for stage in _PEAKS),
            _number(case.gpu_peak_bytes, 1e9, ".2f"),
            case.precision or _NONE,
            case.provider or _NONE,
        ]
        for case in cases
    ]
    return header, rows


def _models(report: Report) -> tuple[list[str], list[list[str]]]:
    """One row per model; the last two columns are no baseline of the others."""
    header = [
        "Model", "Status❔", "Size (MB)", "parameters (M)", "encode (ms)", "decode_1 (ms)",
        "decode_64 (ms)", "whole image (ms)", "masks", "peak whole image (GB)", "ran on",
        "published: whole image (ms)", "published: size (MB)",
    ]  # fmt: skip
    timings = ("encode", "decode_1", "decode_64", "whole_image")
    rows = []
    for case in report.cases:
        published = next((p for p in report.published if _same(p.name, case)), None)
        rows.append(
            [
                case.label,
                MARKS[case.status],
                _number(case.artifact_bytes, 1e6, ".1f"),
                _number(case.parameters, 1e6, ".2f"),
                *(
                    milliseconds(case.timings[name]) if name in case.timings else _NONE
                    for name in timings
                ),
                _number(case.masks, 1, "d"),
                _number(case.peaks.get("whole_image"), 1e9, ".2f"),
                case.provider or _NONE,
                f"{published.milliseconds:g}" if published else _NONE,
                f"{published.megabytes:g}" if published else _NONE,
            ]
        )
    return header, rows


def _same(published: str, case: Case) -> bool:
    """Whether a published figure is of a case's model, however the name is spelled."""
    return _letters(published) in (_letters(case.architecture), _letters(case.name))


def _letters(name: str) -> str:
    return "".join(char for char in name.lower() if char.isalnum())


def _timings(report: Report) -> tuple[list[str], list[list[str]]]:
    names = timing_names(report.cases)
    rows = [
        [
            case.label,
            case.device,
            *(
                milliseconds(case.timings[name]) if name in case.timings else _NONE
                for name in names
            ),
        ]
        for case in report.cases
        if case.timings
    ]
    return ["Format", "Device", *names], rows


def _ratios(cases: Sequence[Case]) -> tuple[list[str], list[list[str]]]:
    """Every peer against each of ours."""
    ours = [case for case in cases if case.runtime and case.timings]
    peers = [case for case in cases if not case.runtime and case.timings]
    names = timing_names(cases)
    rows = [
        [
            peer.label,
            our.label,
            *(_ratio(peer.timings.get(name), our.timings.get(name)) for name in names),
            *(_over(peer.peaks.get(stage), our.peaks.get(stage)) for stage in _PEAKS),
        ]
        for peer in peers
        for our in ours
    ]
    return ["peer", "samdeploy", *names, *(f"peak {stage}" for stage in _PEAKS)], rows


def timing_names(cases: Sequence[Case]) -> list[str]:
    """The timings that any of the cases has, in order."""
    return [name for name in MEANING if any(name in case.timings for case in cases)]


def milliseconds(value: Statistics) -> str:
    """Median and spread; a single sample has no spread."""
    spread = f" ± {_short(value.spread * 1e3)}" if len(value.samples) > 1 else ""
    return f"{_short(value.median * 1e3)}{spread}"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def _ratio(a: Statistics | None, b: Statistics | None) -> str:
    return _over(a.median, b.median) if a and b else _NONE


def _over(a: float | None, b: float | None) -> str:
    return f"{a / b:.2f}" if a and b else _NONE


def _number(value: float | None, unit: float, form: str) -> str:
    if value is None:
        return _NONE
    return format(value if form == "d" else value / unit, form)


def _gb(value: int) -> str:
    return f"{value / 1e9:.1f} GB"
