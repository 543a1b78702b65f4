"""Speed of the TypeScript runtime beside Python's, on the same bundles, picture and click.

    make web && python -m samdeploy.benchmarks.web

In turn: Chromium on WASM with one thread and with two, Node, and Python; every round all of them,
so that ratios are of one moment. The whole image is left to the shipped model, whose weights are
trained; MobileSAM has random ones, by which only a click is timed. The table goes to
``benchmarks/results/``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samdeploy import SAM, export
from samdeploy.benchmarks.environment import read_environment
from samdeploy.benchmarks.weights import random_checkpoint
from samdeploy.scenes import generate_scene

ROOT = Path(__file__).resolve().parents[1]
WEB = ROOT / "runtimes" / "web"
SIZE, CLICK, STRIDE = (600, 800), (400, 300), 16
#: What is timed, by model; see :func:`python_times`.
STAGES = {"sam_tiny": ("encode", "click", "whole image"), "mobile_sam": ("click",)}

Times = dict[str, dict[str, list[float]]]


def main() -> None:
    """Measure, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        image = generate_scene(5, SIZE).image
        alpha = np.full((*SIZE, 1), 255, np.uint8)
        (folder / "picture.rgba").write_bytes(np.concatenate([image, alpha], 2).tobytes())
        export("sam_tiny.pt", output=folder / "sam_tiny", verify="off")
        random = random_checkpoint("mobile_sam.pt", folder)
        export(random, output=folder / "mobile_sam", verify="off")
        subjects: dict[str, Callable[[], Times]] = {
            "Python, 1 thread": lambda: python_times(folder, 1),
            "Python, 2 threads": lambda: python_times(folder, 2),
            "Node, 1 thread": lambda: web_times(folder, "node", 1),
            "Node, 2 threads": lambda: web_times(folder, "node", 2),
            "Chromium WASM, 1 thread": lambda: web_times(folder, "chromium", 1),
            "Chromium WASM, 2 threads": lambda: web_times(folder, "chromium", 2),
        }
        found: dict[str, list[Times]] = {name: [] for name in subjects}
        for _ in range(args.rounds):
            for name, measure in subjects.items():
                found[name].append(measure())
    text = report(found, args.rounds)
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S")
    path = args.output / f"web_{stamp}.md"
    path.write_text(text)
    print(text, f"\nwritten to {path}", sep="")


def python_times(folder: Path, threads: int) -> Times:
    """Seconds of each stage: three encodings, ten clicks, one whole image, after one of each."""
    pixels = np.fromfile(folder / "picture.rgba", np.uint8).reshape(*SIZE, 4)[..., :3]
    times: Times = {}
    for model, stages in STAGES.items():
        with SAM(folder / model, threads=threads) as sam:
            calls = _calls(sam, pixels)
            times[model] = {stage: timed(*calls[stage]) for stage in stages}
    return times


def _calls(sam: SAM, pixels: NDArray[np.uint8]) -> dict[str, tuple[int, Callable[[], object]]]:
    """By stage, how many times to call what."""
    embedding = sam.encode(pixels, "rgb")
    return {
        "encode": (3, lambda: sam.encode(pixels, "rgb")),
        "click": (10, lambda: sam.predict(embedding, points=CLICK).data),
        "whole image": (
            1,
            lambda: sam.generate(pixels, channel_order="rgb", points_stride=STRIDE).rles,
        ),
    }


def timed(count: int, call: Callable[[], object]) -> list[float]:
    """Seconds of ``count`` calls after one that is not timed."""
    call()
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds


def web_times(folder: Path, where: str, threads: int) -> Times:
    """The same by ``runtimes/web/benchmark/run.mjs``, in a fresh Node or Chromium."""
    work = {"folder": str(folder), "size": SIZE, "click": CLICK, "stride": STRIDE, "stages": STAGES}
    command = ["node", "benchmark/run.mjs", where, str(threads), json.dumps(work)]
    ran = subprocess.run(command, cwd=WEB, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(f"{' '.join(command[:4])} failed: {ran.stderr[-2000:]}")
    times: Times = json.loads(ran.stdout)
    return times


def report(found: dict[str, list[Times]], rounds: int) -> str:
    """A table of medians, and what was measured on what."""
    columns = [(model, stage) for model, stages in STAGES.items() for stage in stages]
    rows = []
    for name, runs in found.items():
        medians = (statistics.median(s for r in runs for s in r[m][stage]) for m, stage in columns)
        rows.append([name, *(f"{1000 * median:.0f}" for median in medians)])
    machine = read_environment()
    versions: dict[str, Any] = {
        package: json.loads((WEB / "node_modules" / package / "package.json").read_text())[
            "version"
        ]
        for package in ("onnxruntime-web", "onnxruntime-node")
    }
    header = ["ms, median", *(f"{model} {stage}" for model, stage in columns)]
    lines = ["| " + " | ".join(row) + " |" for row in [header, *rows]]
    lines.insert(1, "|" + " --- |" * len(header))
    return "\n".join(
        [
            "# The TypeScript runtime beside Python",
            "",
            *lines,
            "",
            f"{rounds} rounds of fresh processes, all in turn. A picture of {SIZE[1]} x {SIZE[0]}; "
            f"a click to a mask of that size; the whole image with {STRIDE}² points. `mobile_sam` "
            "has random weights.",
            f"{machine.cpu}, {machine.logical_cpus} cores; ONNX Runtime "
            f"{machine.versions.get('onnxruntime', '?')} (Python), {versions['onnxruntime-node']} "
            f"(Node), {versions['onnxruntime-web']} (web).",
            "",
        ]
    )


if __name__ == "__main__":
    main()
