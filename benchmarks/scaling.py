"""Time and memory of whole-image mode against the number of points: a table and two plots.

    python -m samdeploy.benchmarks.scaling --model mobile_sam.pt --weights random --threads 2
    python -m samdeploy.benchmarks.scaling --model BUNDLE --output benchmarks/results

Every number of points has a process of its own, so that its memory is its own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from samdeploy.benchmarks.environment import read_environment
from samdeploy.benchmarks.html import page
from samdeploy.benchmarks.jobs import Job
from samdeploy.benchmarks.plots import scatter_chart
from samdeploy.benchmarks.processes import measure_in_process
from samdeploy.benchmarks.suite import exported
from samdeploy.benchmarks.tables import Table
from samdeploy.benchmarks.workbench import Settings, Workbench, workbench
from samdeploy.bundle import Bundle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mobile_sam.pt", help="bundle, or checkpoint to export")
    parser.add_argument("--weights", default="checkpoint", choices=["checkpoint", "random"])
    parser.add_argument("--format", default="onnx", help="what a checkpoint is exported to")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--sides", type=int, nargs="*", default=[8, 16, 24, 32, 40])
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark"))
    args = parser.parse_args()
    settings = Settings(weights=args.weights, threads=args.threads, whole_image_rounds=1)
    with workbench(settings) as bench:
        job = _job(bench, args.model, args.format)
        rows = [measured(bench, job, side) for side in args.sides]
    machine = read_environment()
    lead = (
        f"{Path(args.model).name}, {args.format}, {machine.cpu} ({', '.join(machine.cpu_flags)}), "
        f"{args.threads or machine.logical_cpus} threads, weights: {args.weights}."
    )
    header = ["points", "masks", "s", "ms a point", "peak memory, GB"]
    table = Table("Whole image", header, [[str(cell) for cell in row] for row in rows])
    charts = [
        scatter_chart(title, [(str(row[0]), float(row[0]), float(row[column])) for row in rows])
        for title, column in (("seconds against points", 2), ("peak GB against points", 4))
    ]
    args.output.mkdir(parents=True, exist_ok=True)
    path = args.output / f"scaling_{Path(args.model).stem}_{args.format}.html"
    path.write_text(page("Whole image: time and memory", lead, charts, [table]), encoding="utf-8")
    print(lead, "\n\n| " + " | ".join(header) + " |\n" + "|---" * len(header) + "|")
    print("\n".join("| " + " | ".join(row) + " |" for row in table.rows))
    print(f"\nwrote {path}")


def _job(bench: Workbench, model: str, format: str) -> Job:
    if Path(model).is_dir():
        return bench.job("samdeploy", Bundle.open(model).folder)
    bundle = exported(bench, bench.checkpoint(model), format, bench.folder, lambda line: None)
    return bench.job("samdeploy", bundle.folder)


def measured(bench: Workbench, job: Job, side: int) -> tuple[int, int, float, float, float]:
    """Points, masks, seconds, milliseconds a point and peak memory of a grid of ``side``."""
    outcome = measure_in_process(
        msgspec.structs.replace(
            job, whole_image={**(bench.settings.mode or {}), "points_stride": side}
        ),
        bench.folder,
    )
    seconds, points = outcome.seconds["whole_image"][0], side * side
    return (
        points,
        outcome.masks or 0,
        round(seconds, 2),
        round(1000 * seconds / points, 1),
        round(outcome.peaks["whole_image"] / 1e9, 2),
    )


if __name__ == "__main__":
    main()
