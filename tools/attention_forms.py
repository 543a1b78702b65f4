"""Ways to write SAM's attention with relative positions, side by side on each runtime.

    python tools/attention_forms.py --threads 2

One layer of ViT-B at 1024 pixels is exported in every form: global attention (64 x 64 tokens) and a
row of windows (25 of 14 x 14). Each form runs in fresh processes, in turn with the others; all give
the same answer. docs/decisions/0003 says which one the encoder has, and why.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from samdeploy.benchmarks.measure import peak_memory, timed
from samdeploy.models.config import VitConfig
from samdeploy.models.vit import Attention
from samdeploy.table import format_table

#: Tokens along a side, and squares of them in a batch.
LAYERS = {"global": (64, 1), "windows": (14, 25)}
RUNTIMES = ("onnxruntime", "openvino")


class ByHeads(Attention):
    """The form of the encoder: a few heads at a time, the bias as the mask of the attention."""


class AllHeads(Attention):
    """All heads at once, the bias as the mask of the attention."""

    def _heads_per_step(self) -> int:
        return self.num_heads


class Folded(AllHeads):
    """All heads at once and no bias: the query carries its products with the position tables, and
    the key says in which row and column it is."""

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (self._split(x) for x in (q, k, v))
        q, k = self._fold(q, k)
        return self._join(F.scaled_dot_product_attention(q, k, v, scale=1.0))

    def _split(self, x: Tensor) -> Tensor:
        tokens, width = self.size**2, self.head_dim
        return x.reshape(-1, tokens, x.shape[-1] // width, width).transpose(1, 2)

    def _join(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2).reshape(-1, self.size**2, x.shape[1] * x.shape[3])

    def _fold(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """``[B, heads, tokens, width]`` each -> ``[B, heads, tokens, width + 2 size]``."""
        size, shape = self.size, q.shape
        square = q.reshape(-1, size, size, self.head_dim)
        rows = square @ self.rel_pos_h[self.distance].transpose(1, 2)
        columns = square.transpose(1, 2) @ self.rel_pos_w[self.distance].transpose(1, 2)
        products = torch.cat([rows, columns.transpose(1, 2)], -1).reshape(*shape[:3], 2 * size)
        where = torch.eye(size)
        places = torch.cat([where.repeat_interleave(size, 0), where.repeat(size, 1)], 1).expand(
            *shape[:3], 2 * size
        )
        scaled = q * self.head_dim**-0.5
        return torch.cat([scaled, products], -1), torch.cat([k, places], -1)


class _FusedOperator(torch.autograd.Function):
    """ONNX Runtime's own ``MultiHeadAttention``; not standard ONNX."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
        return v.clone()

    @staticmethod
    def symbolic(g: Any, q: Any, k: Any, v: Any, heads: int) -> Any:
        return g.op(
            "com.microsoft::MultiHeadAttention", q, k, v, num_heads_i=heads, scale_f=1.0
        ).setType(v.type())


class FoldedFused(Folded):
    """As folded, through ONNX Runtime's own operator."""

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        folded_q, folded_k = self._fold(self._split(q), self._split(k))
        operator: Any = _FusedOperator.apply
        result: Tensor = operator(self._join(folded_q), self._join(folded_k), v, self.num_heads)
        return result


FORMS = {form.__name__: form for form in (ByHeads, AllHeads, Folded, FoldedFused)}


def export_layer(folder: Path, form: str, layer: str, runtime: str) -> Path | None:
    """The graph of a layer, or ``None`` where the runtime does not know what the form needs."""
    if form == FoldedFused.__name__ and runtime != "onnxruntime":
        return None
    size, batch = LAYERS[layer]
    torch.manual_seed(0)
    config = VitConfig()
    module = FORMS[form](config, size)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    x = torch.zeros(batch, size, size, config.embed_dim)
    path = folder / f"{form}_{layer}.{'onnx' if runtime == 'onnxruntime' else 'xml'}"
    with torch.no_grad():
        WRITERS[runtime](module.eval(), x, path)
    return path


def _write_onnx(module: torch.nn.Module, x: Tensor, path: Path) -> None:
    import onnx
    import onnxsim

    torch.onnx.export(
        module, (x,), path, dynamo=False, opset_version=17, input_names=["x"], output_names=["y"],
        custom_opsets={"com.microsoft": 1},
    )  # fmt: skip
    simplified, _ = onnxsim.simplify(onnx.load(path))
    onnx.save(simplified, path)


def _write_openvino(module: torch.nn.Module, x: Tensor, path: Path) -> None:
    import openvino as ov

    ov.save_model(ov.convert_model(module, example_input=x, input=[x.shape]), path, False)


WRITERS = {"onnxruntime": _write_onnx, "openvino": _write_openvino}


def _open_onnxruntime(path: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.enable_mem_pattern = False
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x})[0]


def _open_openvino(path: Path, threads: int) -> Any:
    import openvino as ov

    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    model = ov.Core().compile_model(path, "CPU", settings)
    return lambda x: model(x)[0]


OPENERS = {"onnxruntime": _open_onnxruntime, "openvino": _open_openvino}


def run_once(path: Path, layer: str, runtime: str, threads: int) -> dict[str, Any]:
    """Seconds of each run, memory beyond that of the process before, and part of the answer."""
    size, batch = LAYERS[layer]
    shape = (batch, size, size, VitConfig().embed_dim)
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    run = OPENERS[runtime](path, threads)
    before = peak_memory()
    seconds = timed(lambda: run(x), warmup=1, rounds=5)
    answer = run(x).ravel()[:: size * 100][:64].tolist()
    return {"seconds": seconds, "bytes": peak_memory() - before, "answer": answer}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="fresh processes of each")
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        path, layer, runtime = args.run
        print(json.dumps(run_once(Path(path), layer, runtime, args.threads)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as work:
        for layer in LAYERS:
            for runtime in RUNTIMES:
                graphs = {form: export_layer(Path(work), form, layer, runtime) for form in FORMS}
                rows += compare(graphs, layer, runtime, args)
    print(format_table(["layer", "runtime", "form", "median, ms", "memory, GB"], rows))


def compare(
    graphs: dict[str, Path | None], layer: str, runtime: str, args: argparse.Namespace
) -> list[list[str]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for _ in range(args.rounds):
        for form, path in graphs.items():
            if path is not None:
                command = [sys.executable, __file__, "--threads", str(args.threads)]
                done = subprocess.run(
                    [*command, "--run", str(path), layer, runtime],
                    check=True, capture_output=True, text=True,
                )  # fmt: skip
                found.setdefault(form, []).append(json.loads(done.stdout))
    expected = found[ByHeads.__name__][0]["answer"]
    rows = []
    for form, runs in found.items():
        np.testing.assert_allclose(runs[0]["answer"], expected, atol=1e-3, err_msg=form)
        median = statistics.median(s for run in runs for s in run["seconds"])
        memory = max(run["bytes"] for run in runs)
        rows.append([layer, runtime, form, f"{median * 1000:.0f}", f"{memory / 1e9:.2f}"])
    return rows


if __name__ == "__main__":
    main()
