"""Measure what lower arithmetic costs and gains, graph by graph: a table of docs/precision.md.

    python tools/arithmetic_table.py [model=sam_tiny.pt] [format=openvino] [lower=bf16]
        [config=CONFIG.json] [verify=off]

The model is exported in float32 and opened with all graphs in fp32, then with one of them in
``lower``, then with all. Each row is compared with the checkpoint in torch as ``samdeploy verify``
does; the recall is that of whole-image mode on further scenes. Latencies are medians of rounds in
which the rows take turns: of the encoder, of a click once the image is encoded, and of a whole
image on a grid of 16 x 16 points. ``verify=off`` leaves accuracy out, for weights that are random.
Where the device cannot compute in ``lower`` the table has the row of fp32 alone, and says so.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from precision_table import SCENES, side

from samdeploy.bundle import Bundle
from samdeploy.checked import CheckedSession
from samdeploy.exporting.pipeline import export
from samdeploy.exporting.verify_sam import verify_sessions
from samdeploy.exporting.verify_whole_image import masks_kept
from samdeploy.graphs import ALL_ROLES
from samdeploy.opening import OpenedModel, open_graphs, open_model
from samdeploy.precision import FP32
from samdeploy.registry import RUNTIMES, availability
from samdeploy.sam import SAM
from samdeploy.scenes import generate_scene
from samdeploy.session import RuntimeOptions

ROUNDS = 9
HEADER = (
    "graphs in {lower}", "mask IoU, mean", "5th percentile", "worst", "cosine", "gate of {lower}",
    "whole-image recall", "encoder, ms", "click, ms", "whole image, ms",
)  # fmt: skip


def main() -> None:
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    model, lower = given.get("model", "sam_tiny.pt"), given.get("lower", "bf16")
    config, verify = given.get("config"), given.get("verify") != "off"
    with tempfile.TemporaryDirectory() as work, ExitStack() as stack:
        bundle = Bundle.open(
            export(
                model,
                given.get("format", "openvino"),
                output=Path(work) / "bundle",
                config=config,
                verify="error" if verify else "off",
            )
        )
        runtime = bundle.manifest.runtime
        state = availability(RUNTIMES, runtime)
        able = lower in state.lower(state.devices[0])
        rows = {"none": ()} | ({role: (role,) for role in ALL_ROLES} if able else {})
        rows |= {"all": ALL_ROLES} if able else {}
        opened = {
            name: stack.enter_context(closing(open_mixed(bundle, lower, roles)))
            for name, roles in rows.items()
        }
        accuracy: Mapping[str, list[str]] = dict.fromkeys(rows, ["-"] * 6)
        if verify:
            options = RuntimeOptions(config=bundle.manifest.config)
            reference = stack.enter_context(closing(open_model(model, options=options)))
            accuracy = {
                name: accurate(reference, each, lower if rows[name] else FP32)
                for name, each in opened.items()
            }
        seconds = latencies(opened)
    print(f"| {' | '.join(HEADER).format(lower=lower)} |\n|{'---|' * len(HEADER)}")
    for name in rows:
        print(f"| {' | '.join((name, *accuracy[name], *seconds[name]))} |")
    if not able:
        print(f"\n{runtime} on {state.devices[0]} does not compute in {lower} here.")


def open_mixed(bundle: Bundle, lower: str, roles: tuple[str, ...]) -> OpenedModel:
    """The bundle with the graphs of ``roles`` in ``lower`` and the others in fp32."""
    runtime, device = bundle.manifest.runtime, "auto"
    sessions: dict[str, CheckedSession] = {}
    for role, path in bundle.graphs().items():
        options = RuntimeOptions(precision=lower if role in roles else FP32)
        found, device = open_graphs({role: path}, runtime, device, options)
        sessions |= found
    return OpenedModel(
        sessions, bundle.folder, runtime, device, bundle, dict(bundle.manifest.whole_image)
    )


def accurate(reference: OpenedModel, candidate: OpenedModel, arithmetic: str) -> list[str]:
    record = verify_sessions(
        reference.sessions,
        candidate.sessions,
        arithmetic=arithmetic,
        whole_image=reference.whole_image,
    )
    kept = total = 0
    for seed in SCENES:
        image = generate_scene(seed, 256).image
        again, found = masks_kept(
            side(reference, image), side(candidate, image), reference.whole_image
        )
        kept, total = kept + again, total + found
    return [
        f"{record.mask_iou_mean:.4f}",
        f"{record.mask_iou_p5:.4f}",
        f"{record.mask_iou_min:.4f}",
        f"{record.embedding_cosine:.5f}",
        f"{'passed' if record.passed else 'MISSED'} {record.tolerance:g}",
        f"{kept} of {total}",
    ]


def latencies(opened: Mapping[str, OpenedModel]) -> dict[str, list[str]]:
    """Median milliseconds of the three timings, by row."""
    models = {name: SAM(each) for name, each in opened.items()}
    seconds: dict[str, list[list[float]]] = {name: [] for name in models}
    for _ in range(ROUNDS + 1):
        for name, model in models.items():
            seconds[name].append([*timed(model)])
    return {
        name: [f"{1000 * statistics.median(each):.1f}" for each in zip(*found[1:], strict=True)]
        for name, found in seconds.items()
    }


def timed(model: SAM) -> Iterator[float]:
    image: Any = generate_scene(SCENES[0], (300, 400)).image
    start = time.perf_counter()
    embedding = model.encode(image, "rgb")
    yield time.perf_counter() - start
    model.predict(embedding, points=[150, 150])  # makes once what all prompts share
    start = time.perf_counter()
    model.predict(embedding, points=[150, 150])
    yield time.perf_counter() - start
    start = time.perf_counter()
    model.generate(image, channel_order="rgb", points_stride=16)
    yield time.perf_counter() - start


if __name__ == "__main__":
    main()
