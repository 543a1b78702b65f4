"""Latency and peak memory of image encoders, of every family, beside their authors' code.

    python -m samdeploy.benchmarks.encoders --threads 2
    python -m samdeploy.benchmarks.encoders --models sam2.1_t.pt,edgetam.pt --official builders.py

Weights are random, inputs have 1024 pixels. Each case (a model on a runtime, in float32, and in
bf16 where the processor has it) has fresh processes, taken in turn with the others of its model; so
ratios within a model are of one moment.

``--official`` names a Python file with a function ``build(name)`` that returns the authors' image
encoder, a torch module of one normalised image ``[1, 3, 1024, 1024]``; that code is not part of
this project. It runs with the memory allocator tuned, as peers do.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from samdeploy.benchmarks.environment import read_environment
from samdeploy.benchmarks.measure import peak_memory, timed
from samdeploy.benchmarks.processes import TUNED_MALLOC
from samdeploy.benchmarks.weights import random_checkpoint
from samdeploy.contracts import fixed_shape
from samdeploy.families import family_of_checkpoint, resolve
from samdeploy.graphs import ENCODER
from samdeploy.models.families import load_model
from samdeploy.processor import arithmetic
from samdeploy.registry import load_exporter, load_runtime
from samdeploy.session import RuntimeOptions
from samdeploy.table import format_table

MODELS = (
    "mobile_sam.pt", "repvit_sam.pt", "edgetam.pt", "sam2.1_t.pt", "sam2.1_s.pt", "sam_b.pt",
    "sam_hq_vit_tiny.pth",
)  # fmt: skip
#: Format to the runtime that opens it and the suffix of a graph.
FORMATS = {"onnx": ("onnxruntime", ".onnx"), "openvino": ("openvino", ".xml")}
#: Case to its format and arithmetic.
OURS = {"onnx": ("onnx", "fp32"), "openvino": ("openvino", "fp32")}
if arithmetic()["bf16"].devices:
    OURS["openvino bf16"] = ("openvino", "bf16")
OFFICIAL = "official torch"


def exported(model: str, folder: Path) -> tuple[dict[str, Path], int]:
    """The encoder graph by format, and the number of parameters of the whole model."""
    folder.mkdir()
    checkpoint = random_checkpoint(model, folder)
    loaded = load_model(checkpoint)
    graphs = {}
    for form, (_, suffix) in FORMATS.items():
        exporter = load_exporter(form)
        (folder / form).mkdir()
        exporter().export(loaded.graphs[ENCODER], folder / form, exporter.Options())
        graphs[form] = folder / form / f"{ENCODER}{suffix}"
    count = resolve(family_of_checkpoint(checkpoint).parameters)
    return graphs, int(count(loaded.facts.config))


def ours(graph: Path, case: str, threads: int | None) -> Callable[[], object]:
    form, precision = OURS[case]
    session = load_runtime(FORMATS[form][0])().open(
        graph, ENCODER, device="cpu", options=RuntimeOptions(threads=threads, precision=precision)
    )
    image = np.random.default_rng(0).uniform(0, 255, fixed_shape(session, "image"))
    feeds = {"image": image.astype(np.float32)}
    return lambda: session.run(feeds)


def official(builders: Path, model: str, threads: int | None) -> Callable[[], object]:
    import torch

    if threads:
        torch.set_num_threads(threads)
    encoder = runpy.run_path(str(builders))["build"](model).eval()
    image = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 3, 1024, 1024))).float()

    def run() -> object:
        with torch.inference_mode():
            return encoder(image)

    return run


def in_fresh_process(case: str, model: str, path: Path, args: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", __spec__.name, "--case", case, "--models", model]
    command += ["--path", str(path), "--runs", str(args.runs)]
    if args.threads:
        command += ["--threads", str(args.threads)]
    environment = dict(os.environ)
    if case == OFFICIAL:
        environment["GLIBC_TUNABLES"] = TUNED_MALLOC
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1]}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measured(model: str, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    graphs, parameters = exported(model, folder)
    cases = {case: graphs[form] for case, (form, _) in OURS.items()}
    if args.official:
        cases[OFFICIAL] = args.official
    runs: dict[str, list[dict[str, Any]]] = {case: [] for case in cases}
    for _ in range(args.rounds):
        for case, path in cases.items():
            runs[case].append(in_fresh_process(case, model, path, args))
    return {
        "parameters": parameters,
        "bytes": {case: sum(f.stat().st_size for f in path.parent.iterdir())
                  for case, path in graphs.items()},
        "cases": {case: _summary(found) for case, found in runs.items()},
    }  # fmt: skip


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    failed = [run for run in runs if "error" in run]
    if failed:
        return failed[0]
    return {
        "median_s": statistics.median(second for run in runs for second in run["seconds"]),
        "seconds": [run["seconds"] for run in runs],
        "peak_gb": max(run["peak_bytes"] for run in runs) / 1e9,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--official", type=Path)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--rounds", type=int, default=2, help="fresh processes of each")
    parser.add_argument("--runs", type=int, default=3, help="timed runs in each process")
    parser.add_argument("--output", type=Path, help="JSON file")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        started = (
            official(args.path, args.models, args.threads)
            if args.case == OFFICIAL
            else ours(args.path, args.case, args.threads)
        )
        seconds = timed(started, warmup=1, rounds=args.runs)
        print(json.dumps({"seconds": seconds, "peak_bytes": peak_memory()}))
        return
    results = {}
    with tempfile.TemporaryDirectory() as work:
        for index, model in enumerate(args.models.split(",")):
            results[model] = measured(model, Path(work) / str(index), args)
            print(format_table(*_table({model: results[model]})), flush=True)
    print(format_table(*_table(results)))
    if args.output:
        report = {"environment": msgspec.to_builtins(read_environment()), "models": results}
        args.output.write_text(json.dumps({**report, "threads": args.threads}, indent=1) + "\n")


def _table(results: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    names = [*OURS, OFFICIAL]
    rows = []
    for model, found in results.items():
        row = [model, f"{found['parameters'] / 1e6:.1f}"]
        for name in names:
            case = found["cases"].get(name, {"error": "-"})
            shown = [case["error"], ""] if "error" in case else [
                f"{case['median_s']:.2f}", f"{case['peak_gb']:.2f}"]  # fmt: skip
            row += shown
        rows.append(row)
    heads = [text for name in names for text in (f"{name}, s", "GB")]
    return ["model", "M parameters", *heads], rows


if __name__ == "__main__":
    main()
