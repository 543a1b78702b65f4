"""Size, speed and accuracy of every precision: the table of docs/precision.md.

    python tools/precision_table.py [model=sam_tiny.pt] [formats=onnx,openvino,coreml]
        [precisions=fp32,int8] [verify=off]

Every bundle is exported with ``verify=warn``, so that one that misses its gate has a row as well;
``verify=off`` leaves accuracy out, for weights that are random.
The latency is that of the encoder alone, the median of rounds in which all precisions of a format
take turns, relative to float32 of the same format; Core ML has none away from macOS. The recall is
that of whole-image mode on further scenes: masks of the checkpoint in torch that are found again.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from samdeploy.bundle import Bundle
from samdeploy.engine import Engine
from samdeploy.exporting.calibration import calibration_inputs
from samdeploy.exporting.pipeline import export
from samdeploy.exporting.verify_whole_image import Side, masks_kept
from samdeploy.graphs import ENCODER
from samdeploy.opening import OpenedModel, open_graphs, open_model
from samdeploy.options import options_of
from samdeploy.registry import load_exporter
from samdeploy.scenes import generate_scene
from samdeploy.schemes import schemes
from samdeploy.session import RuntimeOptions

ROUNDS = 9
#: Scenes of the recall: neither those of the gate nor those of the calibration.
SCENES = range(100, 112)
HEADER = (
    "format", "precision", "gate", "bundle, MB", "size", "encoder size", "encoder latency",
    "mask IoU, mean", "5th percentile", "cosine", "whole-image recall",
)  # fmt: skip


def main() -> None:
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    model, formats = given.get("model", "sam_tiny.pt"), given.get("formats", "onnx,openvino,coreml")
    wanted, verify = given.get("precisions", ",".join(schemes())).split(","), given.get("verify")
    print(f"| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}", flush=True)
    for name in formats.split(","):
        with tempfile.TemporaryDirectory() as work:
            bundles = {}
            heeded = options_of(load_exporter(name).Options).keys()
            for precision, scheme in reversed(schemes().items()):
                if precision in wanted and heeded >= scheme.options.keys():
                    folder = export(
                        model,
                        name,
                        output=Path(work) / precision,
                        verify=verify or "warn",
                        **scheme.options,
                    )
                    bundles[precision] = Bundle.open(folder)
            for row in rows(model, name, bundles):
                print(f"| {' | '.join(row)} |", flush=True)


def rows(model: str, name: str, bundles: dict[str, Bundle]) -> list[list[str]]:
    latency = {} if name == "coreml" and sys.platform != "darwin" else encoder_latency(bundles)
    plain = bundles["fp32"]
    table = []
    for precision, bundle in bundles.items():
        record = bundle.manifest.verification
        seconds = latency.get(precision)
        verdict = f"{'passed' if record.passed else 'MISSED'} {record.tolerance:g}"
        accuracy = (
            ["-"] * 4
            if record.mode == "off"
            else [
                f"{record.mask_iou_mean:.4f}",
                f"{record.mask_iou_p5:.4f}",
                f"{record.embedding_cosine:.5f}",
                recall(model, bundle, record.provider),
            ]
        )
        table.append(
            [
                name,
                precision,
                "not checked" if record.mode == "off" else verdict,
                f"{bundle.bytes / 1e6:.1f}",
                f"{bundle.bytes / plain.bytes:.2f} x",
                f"{encoder_bytes(bundle) / encoder_bytes(plain):.2f} x",
                f"{seconds / latency['fp32']:.2f} x" if seconds else "not run",
                *accuracy,
            ]
        )
    return table


def recall(model: str, bundle: Bundle, provider: str) -> str:
    """Found again of found by the checkpoint, on the runtime that the bundle was verified with."""
    runtime = "mil" if provider == "MIL evaluator" else None
    kept = total = 0
    with ExitStack() as stack:
        reference, candidate = (
            stack.enter_context(closing(opened))
            for opened in (
                open_model(model, options=RuntimeOptions(config=bundle.manifest.config)),
                open_model(
                    bundle.folder, runtime=runtime, options=RuntimeOptions(precision="fp32")
                ),
            )
        )
        for seed in SCENES:
            image = generate_scene(seed, 256).image
            again, found = masks_kept(
                side(reference, image), side(candidate, image), reference.whole_image
            )
            kept, total = kept + again, total + found
    return f"{kept} of {total}"


def side(opened: OpenedModel, image: NDArray[np.uint8]) -> Side:
    engine = Engine(opened)
    return engine.encode(image), engine.decode


def encoder_bytes(bundle: Bundle) -> int:
    graph = next(graph for graph in bundle.manifest.graphs if graph.role == ENCODER)
    return sum(file.bytes for file in graph.files)


def encoder_latency(bundles: dict[str, Bundle]) -> dict[str, float]:
    """Median seconds of one encoder run, by precision."""
    sessions = {
        precision: open_graphs(
            {ENCODER: bundle.graphs()[ENCODER]}, bundle.manifest.runtime, "auto", RuntimeOptions()
        )[0][ENCODER]
        for precision, bundle in bundles.items()
    }
    feeds = {"image": next(calibration_inputs("", bundles["fp32"].manifest.image_size))}
    seconds: dict[str, list[float]] = {precision: [] for precision in sessions}
    for _ in range(ROUNDS + 1):
        for precision, session in sessions.items():
            start = time.perf_counter()
            session.run(feeds)
            seconds[precision].append(time.perf_counter() - start)
    for session in sessions.values():
        session.close()
    return {precision: statistics.median(found[1:]) for precision, found in seconds.items()}


if __name__ == "__main__":
    main()
