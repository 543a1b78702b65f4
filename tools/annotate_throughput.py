"""Images per second of ``annotate`` beside Ultralytics' ``auto_annotate``, with the same weights.

    python tools/annotate_throughput.py [--images 40] [--sam mobile_sam] [--cores 1,2]
        [--formats onnx,openvino]

Needs the package ultralytics (AGPL-3.0). Each figure is of a fresh process on so many cores, from
the call to its end, models loaded before. Both detect with one YOLOv8n of generated weights (at
most ten boxes an image) and segment with one SAM of random weights, which really runs; then its
masks are replaced by ellipses in the boxes, so that both write labels of real objects.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "yolo"))

from samdeploy import SAM, auto_annotate, export
from samdeploy.benchmarks.weights import random_checkpoint
from samdeploy.checked import CheckedSession
from samdeploy.graphs import MASK_HEAD, SCORER
from samdeploy.opening import open_model
from samdeploy.scenes import generate_scene
from samdeploy.session import Array, RuntimeOptions, Session
from samdeploy.yolo.detector import open_detector

SETTINGS: dict[str, Any] = {"conf": 0.25, "iou": 0.45, "imgsz": 640, "max_det": 10}
SIZE = (720, 1280)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--sam", default="mobile_sam", help="sam_b, sam_l or mobile_sam")
    parser.add_argument("--cores", default="1,2")
    parser.add_argument("--formats", default="onnx,openvino")
    parser.add_argument("--side", help="used by the script itself")
    parser.add_argument("--folder", type=Path, help="used by the script itself")
    options = parser.parse_args()
    if options.side:
        cores = int(options.cores)
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
        run = run_ultralytics if options.side == "ultralytics" else run_ours
        # Ultralytics prints; the figure is the last line.
        print(json.dumps(run(options.folder, options.side, options.sam, cores)))
        return
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        prepare(folder, options.sam, options.formats.split(","), options.images)
        sides = ["ultralytics", *options.formats.split(",")]
        print(f"{options.images} images of {SIZE[1]} x {SIZE[0]}, {options.sam}, random weights")
        for cores in options.cores.split(","):
            found = {side: measured(folder, side, options.sam, cores) for side in sides}
            peer = options.images / found["ultralytics"]["seconds"]
            for side, each in found.items():
                rate = options.images / each["seconds"]
                print(
                    f"{cores} cores  {side:12} {rate:7.2f} images/s  {rate / peer:5.2f} x  "
                    f"{each['objects']} objects",
                    flush=True,
                )


def measured(folder: Path, side: str, sam: str, cores: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, __file__, "--side", side, "--folder", str(folder), "--sam", sam,
         "--cores", cores],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": cores},
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{side} failed: {done.stderr}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def prepare(folder: Path, sam: str, formats: list[str], count: int) -> None:
    """Images, checkpoints and bundles."""
    import ultralytics_models

    (folder / "images").mkdir()
    for index in range(count):
        picture = Image.fromarray(generate_scene(index, SIZE).image)
        picture.save(folder / "images" / f"{index:05d}.jpg", quality=92)
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        detector = folder / "yolov8n.pt"
        ultralytics_models.generated_model("yolov8n.yaml").save(detector)
        checkpoint = random_checkpoint(sam, folder)
        for format in formats:
            export(detector, format, output=folder / f"yolo_{format}", trust=True, verify="off")
            export(checkpoint, format, output=folder / f"sam_{format}", verify="off")


def run_ours(folder: Path, format: str, sam: str, cores: int) -> dict[str, Any]:
    opened = open_model(folder / f"sam_{format}", options=RuntimeOptions(threads=cores))
    sessions = dict(opened.sessions)
    for role in (SCORER, MASK_HEAD):
        sessions[role] = CheckedSession(Ellipses(sessions[role]), role)
    model = SAM(dataclasses.replace(opened, sessions=sessions))
    detector = open_detector(folder / f"yolo_{format}", threads=cores, **SETTINGS)
    started = time.perf_counter()
    summary = auto_annotate(
        folder / "images", detector, model, output_dir=folder / f"{format}_{cores}"
    )
    return {"seconds": time.perf_counter() - started, "objects": summary.objects}


def run_ultralytics(folder: Path, side: str, sam: str, cores: int) -> dict[str, Any]:
    import torch
    import ultralytics_models

    ultralytics_models.import_ultralytics()
    from ultralytics.data import annotator

    torch.set_num_threads(cores)  # and OMP_NUM_THREADS, which it heeds
    model, detector = annotator.SAM(folder / f"{sam}.pt"), annotator.YOLO(folder / "yolov8n.pt")
    replace_masks(model.model)
    # The function opens what it is told by name; the models are open already.
    annotator.SAM, annotator.YOLO = (lambda name: model), (lambda name: detector)
    out = folder / f"ultralytics_{cores}"
    started = time.perf_counter()
    annotator.auto_annotate(
        folder / "images", "yolov8n.pt", f"{sam}.pt", "cpu", output_dir=out, **SETTINGS
    )
    seconds = time.perf_counter() - started
    lines = [line for path in out.glob("*.txt") for line in path.read_text().splitlines()]
    return {"seconds": seconds, "objects": len(lines)}


def ellipses(boxes: Array, side: int) -> Array:
    """Logits ``[N, side, side]`` that are positive in the ellipses of boxes ``[N, 4]`` in pixels of
    the encoder's input."""
    low = boxes.astype(np.float32) / 4
    at = np.arange(side, dtype=np.float32) + 0.5
    across, down = (
        ((at - (low[:, [axis]] + low[:, [axis + 2]]) / 2)
         / np.maximum((low[:, [axis + 2]] - low[:, [axis]]) / 2, 0.5)) ** 2
        for axis in (0, 1)
    )  # fmt: skip
    return np.asarray(10 * (1 - across[:, None, :] - down[:, :, None]), np.float32)


class Ellipses:
    """Our scorer or mask head, whose answers are replaced after it ran. The boxes travel from one
    to the other in values that the mask head is fed with."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.inputs, self.outputs = session.inputs, session.outputs
        self.provider = session.provider

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        results = self._session.run(feeds)
        if "point_labels" in feeds:
            corner = feeds["point_labels"][0].tolist().index(2)
            boxes = feeds["point_coords"][:, corner : corner + 2].reshape(-1, 4)
            results["mask_tokens"][:, 0, :4] = boxes
            results["iou_predictions"][:] = 0.9
        else:
            masks = results["low_res_masks"]
            masks[:] = ellipses(feeds["mask_tokens"][:, 0, :4], masks.shape[-1])[:, None]
        return results

    def close(self) -> None:
        self._session.close()


def replace_masks(model: Any) -> None:
    """The same in torch, in place."""
    asked: list[Array] = []

    def note(module: Any, arguments: Any, named: dict[str, Any]) -> None:
        asked[:] = [named["boxes"].reshape(-1, 4).numpy()]

    def replace(module: Any, arguments: Any, results: Any) -> None:
        masks, iou = results[:2]
        found = ellipses(asked[0], masks.shape[-1])
        masks.numpy()[:] = found.reshape(len(found), 1, *found.shape[1:])
        iou.fill_(0.9)

    model.prompt_encoder.register_forward_pre_hook(note, with_kwargs=True)
    model.mask_decoder.register_forward_hook(replace)


if __name__ == "__main__":
    main()
