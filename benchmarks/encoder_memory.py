"""Peak memory and latency of the exported image encoder, beside the usual export.

    python -m samdeploy.benchmarks.encoder_memory
    python -m samdeploy.benchmarks.encoder_memory --threads 2 --rounds 3 --json

The *usual* export keeps the scores of all heads of global attention at once; ours takes a few heads
at a time. Both hold the same random weights and run in fresh processes, one after the other, on
ONNX Runtime's CPU provider.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from types import MethodType
from typing import Any

import numpy as np

from samdeploy.benchmarks.measure import peak_memory, timed
from samdeploy.benchmarks.weights import random_model
from samdeploy.contracts import fixed_shape
from samdeploy.graphs import ENCODER
from samdeploy.registry import load_exporter, load_runtime
from samdeploy.session import RuntimeOptions
from samdeploy.table import format_table


def export_encoder(folder: Path, name: str, usual: bool) -> Path:
    """Export an untrained model of a published architecture; returns the encoder graph."""
    import torch

    from samdeploy.models import graph_modules
    from samdeploy.models.sam import Sam
    from samdeploy.models.vit import Attention

    model = random_model(name)
    assert isinstance(model, Sam)

    def all_heads_at_once(self: Attention, x: torch.Tensor) -> torch.Tensor:
        tokens, heads, width = self.size**2, self.num_heads, self.head_dim
        qkv = self.qkv(x).reshape(-1, tokens, 3, heads, width).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        scores = (q * width**-0.5) @ k.transpose(2, 3) + self._relative_bias(q)
        out = (scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(-1, tokens, heads * width)
        result: torch.Tensor = self.proj(out)
        return result.reshape(-1, self.size, self.size, heads * width)

    if usual:
        for module in model.modules():
            if isinstance(module, Attention):
                module.forward = MethodType(all_heads_at_once, module)  # type: ignore[method-assign]
    folder.mkdir()
    exporter = load_exporter("onnx")
    exporter().export(graph_modules(model)[ENCODER], folder, exporter.Options())
    return folder / f"{ENCODER}.onnx"


def run_once(graph: Path, threads: int | None, runs: int) -> dict[str, Any]:
    """Load and run a graph in this process: seconds per run after one warm-up, and peak memory."""
    options = RuntimeOptions(threads=threads)
    session = load_runtime("onnxruntime")().open(graph, ENCODER, device="cpu", options=options)
    shape = fixed_shape(session, "image")
    image = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    seconds = timed(lambda: session.run({"image": image}), warmup=1, rounds=runs)
    return {"seconds": seconds, "peak_bytes": peak_memory()}


def in_fresh_process(graph: Path, threads: int | None, runs: int) -> dict[str, Any]:
    command = [sys.executable, "-m", __spec__.name, "--graph", str(graph), "--runs", str(runs)]
    if threads:
        command += ["--threads", str(threads)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="sam_b", choices=["sam_b", "sam_l"])
    parser.add_argument("--threads", type=int)
    parser.add_argument("--rounds", type=int, default=3, help="fresh processes of each")
    parser.add_argument("--runs", type=int, default=2, help="timed runs in each process")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--graph", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.graph:
        print(json.dumps(run_once(args.graph, args.threads, args.runs)))
        return
    with tempfile.TemporaryDirectory() as work:
        graphs = {
            name: export_encoder(Path(work) / name, args.model, usual=name == "usual")
            for name in ("usual", "samdeploy")
        }
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in graphs}
        for _ in range(args.rounds):
            for name, graph in graphs.items():
                found[name].append(in_fresh_process(graph, args.threads, args.runs))
    results = {
        name: {
            "median_s": statistics.median(s for run in runs for s in run["seconds"]),
            "peak_gb": max(run["peak_bytes"] for run in runs) / 1e9,
        }
        for name, runs in found.items()
    }
    ratio = {
        key: results["samdeploy"][key] / results["usual"][key] for key in ("median_s", "peak_gb")
    }
    if args.json:
        print(json.dumps({"model": args.model, "results": results, "ratio": ratio}, indent=2))
        return
    rows = [
        [name, f"{values['median_s']:.2f}", f"{values['peak_gb']:.2f}"]
        for name, values in (*results.items(), ("ratio", ratio))
    ]
    print(format_table([f"{args.model} encoder", "median, s", "peak, GB"], rows))


if __name__ == "__main__":
    main()
