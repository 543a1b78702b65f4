"""Time and memory of whole-image mode against the number of points, the size of the image and the
layers of crops: a table and two plots of each.

    python -m samdeploy.benchmarks.scaling --model mobile_sam.pt --weights random --threads 2
    python -m samdeploy.benchmarks.scaling --model BUNDLE --axes crops --output benchmarks/results

Every row has a process of its own, so that its memory is its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np

from samdeploy.benchmarks.environment import read_environment
from samdeploy.benchmarks.html import page
from samdeploy.benchmarks.jobs import Job
from samdeploy.benchmarks.plots import scatter_chart
from samdeploy.benchmarks.processes import measure_in_process
from samdeploy.benchmarks.suite import arithmetic_of, exported
from samdeploy.benchmarks.tables import Table
from samdeploy.benchmarks.workbench import Settings, Workbench, workbench
from samdeploy.bundle import Bundle


@dataclass(frozen=True)
class Axis:
    """What grows: ``job`` changes the job for one of the ``values``."""

    name: str
    values: Sequence[float]
    job: Callable[[Job, float, Path], Job]


def _points(job: Job, side: float, folder: Path) -> Job:
    return _with(job, points_stride=int(side))


def _crops(job: Job, layers: float, folder: Path) -> Job:
    return _with(job, crop_n_layers=int(layers), crop_downscale_factor=2)


def _megapixels(job: Job, megapixels: float, folder: Path) -> Job:
    image = np.load(job.image)
    scale = (megapixels * 1e6 / (image.shape[0] * image.shape[1])) ** 0.5
    resized = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    path = folder / f"{megapixels:g}_megapixels.npy"
    np.save(path, resized)
    return msgspec.structs.replace(job, image=str(path))


def _with(job: Job, **settings: Any) -> Job:
    return msgspec.structs.replace(job, whole_image={**(job.whole_image or {}), **settings})


AXES = (
    Axis("points along a side", (8, 16, 24, 32, 48, 64), _points),
    Axis("megapixels", (0.3, 2, 12, 50), _megapixels),
    Axis("layers of crops", (0, 1, 2), _crops),
)
_HEADER = ["masks", "s", "peak memory, GB"]


def main() -> None:
    names = [axis.name.split()[-1] for axis in AXES]  # side, megapixels, crops
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mobile_sam.pt", help="bundle, or checkpoint to export")
    parser.add_argument("--weights", default="checkpoint", choices=["checkpoint", "random"])
    parser.add_argument("--format", default="onnx", help="as onnx or onnx:kernels")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--axes", nargs="*", default=names, choices=names)
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark"))
    args = parser.parse_args()
    settings = Settings(weights=args.weights, threads=args.threads, whole_image_rounds=1)
    chosen = [axis for axis, name in zip(AXES, names, strict=True) if name in args.axes]
    with workbench(settings) as bench:
        job = _job(bench, args.model, args.format)
        tables = [_measured(bench, job, axis) for axis in chosen]
    machine = read_environment()
    lead = (
        f"{Path(args.model).name}, {args.format}, {machine.cpu} ({', '.join(machine.cpu_flags)}), "
        f"{args.threads or machine.logical_cpus} threads, weights: {args.weights}."
    )
    charts = [
        scatter_chart(
            f"{what} against {table.title}",
            [(row[0], float(row[0]), float(row[column])) for row in table.rows],
        )
        for table in tables
        for what, column in (("seconds", 2), ("peak GB", 3))
    ]
    args.output.mkdir(parents=True, exist_ok=True)
    kind = args.format.replace(":", "_")
    path = args.output / f"scaling_{Path(args.model).stem}_{kind}.html"
    path.write_text(page("Whole image: time and memory", lead, charts, tables), encoding="utf-8")
    print(lead)
    for table in tables:
        print("\n| " + " | ".join(table.header) + " |\n" + "|---" * len(table.header) + "|")
        print("\n".join("| " + " | ".join(row) + " |" for row in table.rows))
    print(f"\nwrote {path}")


def _job(bench: Workbench, model: str, format: str) -> Job:
    name, _, precision = format.partition(":")
    asked = {"precision": precision or None, "whole_image": bench.settings.mode or {}}
    if Path(model).is_dir():
        return bench.job("samdeploy", Bundle.open(model).folder, **asked)
    kernels = arithmetic_of(format).kernels
    checkpoint = bench.checkpoint(model)
    bundle = exported(bench, checkpoint, name, bench.folder, lambda line: None, kernels=kernels)
    return bench.job("samdeploy", bundle.folder, **asked)


def _measured(bench: Workbench, job: Job, axis: Axis) -> Table:
    """Masks, seconds and peak memory, row by row."""
    rows = []
    for value in axis.values:
        outcome = measure_in_process(axis.job(job, value, bench.folder), bench.folder)
        seconds, peak = outcome.seconds["whole_image"][0], outcome.peaks["whole_image"] / 1e9
        rows.append([f"{value:g}", str(outcome.masks or 0), f"{seconds:.2f}", f"{peak:.2f}"])
    return Table(axis.name, [axis.name, *_HEADER], rows)


if __name__ == "__main__":
    main()
