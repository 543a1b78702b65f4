"""Measure how well whole-image mode knows a mask's stability score before the mask is made.

    python tools/stability_margin.py --size 256
    python tools/stability_margin.py --imgsz 1024 --size 1024 --conf 0.5

On generated scenes that the tiny model was not trained on: every confident candidate's estimate
from low-res logits against its score at image size, at the thresholds that matter. Prints, for the
estimate in use and for plain counting with a constant margin, how many are computed again at image
size and how many of the others are judged wrongly.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from samdeploy.engine import Engine
from samdeploy.masks.postprocess import stability_scores
from samdeploy.opening import open_model
from samdeploy.scenes import generate_scene
from samdeploy.session import RuntimeOptions
from samdeploy.table import format_table
from samdeploy.whole_image.asking import grid_prompts
from samdeploy.whole_image.grids import make_crops
from samdeploy.whole_image.settings import WholeImageSettings
from samdeploy.whole_image.upscaling import Upscaler

THRESHOLDS = (0.8, 0.92, 0.95)
CONSTANTS = (0.02, 0.06)
_BATCH = 16


def measure(
    engine: Engine, image: NDArray[np.uint8], points: int, conf: float
) -> NDArray[np.float64]:
    """``[N, 4]`` of the candidates: score at image size, estimate, its doubt, plain count."""
    embedding = engine.encode(image)
    transform = embedding.transform
    upscaler = Upscaler(transform)
    height, width = transform.low_res_size
    grid = make_crops(image.shape[:2], WholeImageSettings(points_stride=points))[0].points
    rows = []
    for start in range(0, len(grid), _BATCH):
        prompts = grid_prompts(grid[start : start + _BATCH], transform, embedding.low_res_side)
        answer = engine.decode(embedding, prompts)
        confident = answer.iou_predictions[:, 1:] > conf
        logits = answer.masks(np.arange(len(prompts)))[:, 1:][confident]
        part = logits[:, :height, :width]
        full = [upscaler.stability(one, 1.0) for one in logits]
        rows.append(
            np.stack(
                [full, *upscaler.estimate_stability(logits, 1.0), stability_scores(part)], axis=1
            )
        )
    return np.concatenate(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="sam_tiny.pt", help="checkpoint or bundle")
    parser.add_argument("--imgsz", type=int, help="input side of a checkpoint; logits: a quarter")
    parser.add_argument("--size", type=int, nargs="*", default=[256], help="pixels of the scenes")
    parser.add_argument("--scenes", type=int, default=48)
    parser.add_argument("--points", type=int, default=32, help="grid points along a side")
    parser.add_argument("--conf", type=float, default=0.88)
    parser.add_argument("--save", help=".npy file of all scores")
    args = parser.parse_args()
    size = tuple(args.size) if len(args.size) > 1 else args.size[0]
    engine = Engine(open_model(args.model, options=RuntimeOptions(threads=1, imgsz=args.imgsz)))
    scores = np.concatenate(
        [
            measure(engine, generate_scene(seed, size).image, args.points, args.conf)
            for seed in range(args.scenes)
        ]
    )
    if args.save:
        np.save(args.save, scores)
    full, estimate, doubt, count = scores[np.isfinite(scores).all(axis=1)].T
    ways = {
        "estimate": (estimate, doubt),
        **{f"count, margin {margin}": (count, np.full(len(count), margin)) for margin in CONSTANTS},
    }
    table = []
    for least in THRESHOLDS:
        for name, (found, margin) in ways.items():
            again = np.abs(found - least) <= margin
            wrong = ~again & ((found >= least) != (full >= least))
            table.append([f"{least:g}", name, f"{again.mean():.1%}", str(wrong.sum())])
    print(f"{len(full)} candidates of {args.scenes} scenes, {engine.low_res_side}-pixel logits")
    print(format_table(["threshold", "way", "computed again", "judged wrongly"], table))
    off = np.abs(estimate - full)
    print(f"off by {off.mean():.4f} in the mean, {off.max():.4f} at most; doubt is exceeded by "
          f"{(off > doubt).mean():.2%}, up to {(off / doubt).max():.2f} times")  # fmt: skip


if __name__ == "__main__":
    main()
