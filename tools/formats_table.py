"""Rows of docs/mobile.md: of benchmark reports, and of bundles that a simulator alone can run.

    python tools/formats_table.py benchmarks/results/formats_*.json [BUNDLE...]

A row a format and model: size, times, peak memory, agreement with torch, and where it ran.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from samdeploy.benchmarks.records import Case, read_report
from samdeploy.bundle import Bundle

HEADER = (
    "model", "format", "files, MB", "image to embedding, ms", "click, ms", "whole image, s",
    "peak memory, MB", "mask IoU: mean, least", "ran on",
)  # fmt: skip


def measured(report: Path) -> Iterator[list[str]]:
    read = read_report(report)
    for case in read.cases:
        if case.status == "ok":
            yield [Path(read.model).stem, *_row(case)]


def _row(case: Case) -> list[str]:
    def time(name: str, unit: float, digits: int) -> str:
        found = case.timings.get(name)
        return "-" if found is None else f"{found.median * unit:,.{digits}f}"

    return [
        case.name,
        f"{(case.artifact_bytes or 0) / 1e6:.1f}",
        time("encode", 1e3, 0),
        time("click", 1e3, 1),
        time("whole_image", 1, 1),
        f"{max(case.peaks.values()) / 1e6:,.0f}",
        f"{case.mask_iou_mean:.4f}, {case.mask_iou_min:.4f}",
        case.provider,
    ]


def simulated(folder: Path) -> list[str]:
    bundle = Bundle.open(folder)
    manifest = bundle.manifest
    record = manifest.verification
    name, size = Path(manifest.source.name).stem, f"{bundle.bytes / 1e6:.1f}"
    iou = f"{record.mask_iou_mean:.4f}, {record.mask_iou_min:.4f}"
    kind = f"{manifest.format}, {manifest.precision}"
    kind += ", host_prompts" if manifest.prompts else ""
    return [name, kind, size, *"----", iou, record.provider]


def main() -> None:
    rows = [list(HEADER), ["---"] * len(HEADER)]
    for path in map(Path, sys.argv[1:]):
        rows += [simulated(path)] if path.is_dir() else measured(path)
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))


if __name__ == "__main__":
    main()
