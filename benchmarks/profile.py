"""Where the time of whole-image mode goes: per stage and per type of operator, beside the floor.

    python -m samdeploy.benchmarks.profile --model mobile_sam.pt --weights random --threads 2
    python -m samdeploy.benchmarks.profile --model sam_b.pt --runtime openvino --output FILE

The floor of a graph is its arithmetic (matrix products and convolutions) at the speed of one large
matrix product on the same runtime. With random weights the outputs of the decoder are replaced as
in ``samdeploy benchmark`` (docs/benchmarks.md).
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import statistics
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from samdeploy.benchmarks.arithmetic import count_flops, operator_seconds, peak_flops
from samdeploy.benchmarks.environment import read_environment
from samdeploy.benchmarks.measure import peak_memory, timed
from samdeploy.benchmarks.substitution import SETTINGS, SubstitutedSession, Substitution
from samdeploy.benchmarks.weights import random_checkpoint
from samdeploy.benchmarks.workbench import IMAGE_SIZE
from samdeploy.bundle import Bundle
from samdeploy.checked import CheckedSession
from samdeploy.contracts import fixed_shape
from samdeploy.exporting.pipeline import export
from samdeploy.graphs import (
    ENCODER,
    KERNEL_ROLES,
    KERNELS_FILE,
    MASK_HEAD,
    PREPARE,
    SCORER,
    numbers,
)
from samdeploy.opening import OpenedModel, open_model
from samdeploy.precision import ARITHMETIC, FP32
from samdeploy.sam import SAM
from samdeploy.scenes import generate_scene
from samdeploy.session import Array, RuntimeOptions, Session, TensorSpec

#: Graphs of whole-image mode and the prompts of one call of each.
_PROMPTS = {ENCODER: 1, PREPARE: 1, SCORER: 16, MASK_HEAD: 16}
_POINTS = 2
#: Inputs whose length is the number of prompts.
_PER_PROMPT = ("point_coords", "mask_tokens")
_FORMATS = {"onnxruntime": "onnx", "openvino": "openvino"}
_ROUNDS = 5


class TimedSession:
    """A session that adds up its calls, seconds and prompts."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.calls, self.prompts, self.seconds = 0, 0, 0.0
        self.inputs, self.outputs = session.inputs, session.outputs
        self.provider = session.provider

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        started = time.perf_counter()
        results = self._session.run(feeds)
        self.seconds += time.perf_counter() - started
        self.calls += 1
        self.prompts += next((len(feeds[name]) for name in _PER_PROMPT if name in feeds), 1)
        return results

    def close(self) -> None:
        self._session.close()


def example_feeds(inputs: tuple[TensorSpec, ...], sides: Mapping[str, int]) -> dict[str, Array]:
    """Random inputs of a graph; a point prompt is one foreground point and the padding."""
    rng = np.random.default_rng(0)
    feeds = {}
    for spec in inputs:
        shape = tuple(sides[side] if isinstance(side, str) else side for side in spec.shape)
        feeds[spec.name] = rng.normal(size=shape).astype(spec.numpy_dtype)
    if "point_labels" in feeds:
        feeds["point_labels"][:] = (1, -1)
        feeds["point_coords"] = np.abs(feeds["point_coords"]) * 100
    return feeds


def profile_graphs(
    model: OpenedModel, onnx_bundle: Path, runtime: str, options: RuntimeOptions
) -> list[str]:
    """Markdown: every graph's time, floor and operators."""
    # What the runtime itself is asked for, which knows no kernels.
    options = dataclasses.replace(options, precision=ARITHMETIC[model.precision].encoder)
    peak = peak_flops(runtime, options)
    lines = [
        f"A large matrix product runs at {peak / 1e9:.0f} GFLOP/s.",
        "",
        "| graph | prompts | GFLOP | ms | floor, ms | ratio | operators, share of the time |",
        "|---|---|---|---|---|---|---|",
    ]
    assert model.bundle is not None
    _, heads, _, tokens = fixed_shape(model.sessions[SCORER], "image_keys")
    sides_of = partial(numbers, points=_POINTS, grid=math.isqrt(tokens), heads=heads)
    scorer = model.sessions[SCORER]
    # How many there are differs from family to family.
    values = scorer.run(example_feeds(scorer.inputs, sides_of(1)))["mask_values"].shape[1]
    # Kernels leave out a token of each head in both layers; what is counted is the graphs'.
    left_out = 2 * heads - 1 if ARITHMETIC[model.precision].kernels else 0
    for role, prompts in _PROMPTS.items():
        session = model.sessions[role]
        sides = sides_of(prompts) | {"values": values}
        feeds = example_feeds(session.inputs, sides)
        seconds = statistics.median(timed(partial(session.run, feeds), 1, _ROUNDS))
        counted = sides | {"values": values + left_out}
        flops = count_flops(onnx_bundle / f"{role}.onnx", counted)
        shares = session.provider
        if not (ARITHMETIC[model.precision].kernels and role in KERNEL_ROLES):
            operators = operator_seconds(runtime, model.bundle.graphs()[role], feeds, options)
            total = sum(operators.values())
            shares = ", ".join(
                f"{kind} {100 * s / total:.0f} %"
                for kind, s in operators.items()
                if s > 0.02 * total
            )
        floor = flops / peak
        lines.append(
            f"| {role} | {prompts} | {flops / 1e9:.1f} | {1000 * seconds:.0f} | "
            f"{1000 * floor:.0f} | {seconds / floor:.2f} | {shares} |"
        )
    return lines


def profile_whole_image(model: OpenedModel, substitute: bool, points: int) -> list[str]:
    """Markdown: what one whole image spends in each graph and outside them."""
    image = generate_scene(0, IMAGE_SIZE).image
    sessions = {role: TimedSession(session) for role, session in model.sessions.items()}
    settings: dict[str, Any] = {"points_stride": points}
    wrapped: dict[str, Session] = dict(sessions)
    if substitute:
        settings |= SETTINGS
        chosen = Substitution(model.preprocess.transform(image.shape[:2], model.image_size), points)
        chosen.enabled = True
        wrapped = {role: SubstitutedSession(s, role, chosen) for role, s in sessions.items()}
    checked = {role: CheckedSession(session, role) for role, session in wrapped.items()}
    sam = SAM(dataclasses.replace(model, sessions=checked))
    started = time.perf_counter()
    masks = sam.generate(image, channel_order="rgb", **settings)
    total = time.perf_counter() - started
    lines = ["| stage | calls | prompts | s | share |", "|---|---|---|---|---|"]
    rest = total
    for role, session in sessions.items():
        if session.calls:
            rest -= session.seconds
            lines.append(
                f"| {role} | {session.calls} | {session.prompts} | {session.seconds:.2f} | "
                f"{100 * session.seconds / total:.0f} % |"
            )
    lines += [
        f"| not hidden behind them: resize, filters, masks | | | {rest:.2f} | "
        f"{100 * rest / total:.0f} % |",
        f"| whole image, {points * points} points, {len(masks)} masks | | | {total:.2f} | |",
        "",
        f"Largest resident size: {peak_memory() / 1e9:.2f} GB.",
    ]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mobile_sam.pt", help="checkpoint or its known name")
    parser.add_argument("--weights", default="checkpoint", choices=["checkpoint", "random"])
    parser.add_argument("--runtime", nargs="*", default=list(_FORMATS), choices=list(_FORMATS))
    parser.add_argument("--precision", default=FP32, choices=list(ARITHMETIC))
    parser.add_argument("--threads", type=int)
    parser.add_argument("--points", type=int, default=32, help="grid points along a side")
    parser.add_argument("--folder", type=Path, help="keep the bundles here, or use them")
    parser.add_argument("--output", type=Path, help="Markdown file; default: print")
    args = parser.parse_args()
    environment = read_environment()
    lines = [
        f"# Where the time goes: {Path(args.model).stem}",
        "",
        f"{environment.cpu} ({', '.join(environment.cpu_flags)}), {args.threads or 'all'} threads, "
        f"image {IMAGE_SIZE[1]} x {IMAGE_SIZE[0]}, weights: {args.weights}.",
    ]
    with tempfile.TemporaryDirectory() as work:
        folder, kernels = args.folder or Path(work), ARITHMETIC[args.precision].kernels
        bundles = {
            name: _bundle(args.model, args.weights, format, folder, Path(work), kernels)
            for name, format in {"onnxruntime": "onnx", **_FORMATS}.items()
            if name == "onnxruntime" or name in args.runtime
        }
        for runtime in args.runtime:
            options = RuntimeOptions(threads=args.threads, precision=args.precision)
            model = open_model(bundles[runtime], runtime=runtime, device="cpu", options=options)
            lines += ["", f"## {model.sessions[ENCODER].provider}", ""]
            lines += profile_whole_image(model, args.weights == "random", args.points)
            lines += ["", *profile_graphs(model, bundles["onnxruntime"], runtime, options)]
    text = "\n".join(lines) + "\n"
    if args.output:
        args.output.write_text(text)
    print(text)


def _bundle(model: str, weights: str, format: str, folder: Path, work: Path, kernels: bool) -> Path:
    target = folder / f"{Path(model).stem}_{format}"
    if target.is_dir() and (not kernels or (target / KERNELS_FILE).exists()):
        return Bundle.open(target).folder
    folder.mkdir(parents=True, exist_ok=True)
    source = random_checkpoint(model, work) if weights == "random" else model
    return export(source, format, output=target, kernels=kernels)


if __name__ == "__main__":
    main()
