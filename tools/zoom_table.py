"""What ``zoom=True`` of ``annotate`` gains on small objects: the table of docs/annotate.md.

    python tools/zoom_table.py [--model sam_tiny.pt|BUNDLE] [--scenes 24]

On scenes that the shipped model was not trained on, with the boxes of the true masks: mean IoU with
these, how many masks are worse by more than 0.05, encoder runs and time an image.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from numpy.typing import NDArray

from samdeploy import SAM
from samdeploy.annotation.zoom import find_parts, predict_zoomed
from samdeploy.benchmarks.track_scores import outer_box
from samdeploy.masks.masks import Masks
from samdeploy.scenes import generate_scene

SIZES = ((256, 256), (360, 480), (720, 1280))  # height, width


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="sam_tiny.pt")
    parser.add_argument("--scenes", type=int, default=24)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    print("| scenes | plain | `zoom=True` | encoder runs an image | worse | times as long |")
    print("|---|---|---|---|---|---|")
    with SAM(args.model, threads=args.threads) as sam:
        for size in SIZES:
            print_row(sam, size, args.scenes)


def print_row(sam: SAM, size: tuple[int, int], scenes: int) -> None:
    plain, zoomed = list[NDArray[np.float64]](), list[NDArray[np.float64]]()
    seconds, runs = np.zeros(2), 0
    for seed in range(scenes):
        scene = generate_scene(seed, size)
        boxes = np.array([outer_box(mask) for mask in scene.masks], np.float32)
        start = time.perf_counter()
        one = sam.predict(scene.image, bboxes=boxes, channel_order="rgb")
        middle = time.perf_counter()
        other = predict_zoomed(sam, scene.image, boxes)
        seconds += middle - start, time.perf_counter() - middle
        plain.append(ious(one, scene.masks))
        zoomed.append(ious(other, scene.masks))
        runs += len(list(find_parts(boxes, size, sam.image_size // 4)))
    before, after = np.concatenate(plain), np.concatenate(zoomed)
    height, width = size
    print(
        f"| {width} x {height} | {before.mean():.2f} | {after.mean():.2f} | {runs / scenes:.1f} "
        f"| {(after < before - 0.05).mean():.0%} | {seconds[1] / seconds[0]:.1f} |",
        flush=True,
    )


def ious(found: Masks, truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Of each mask with the true one of the same number."""
    shared = (found.data & truth).sum((1, 2))
    return np.asarray(shared / (found.data | truth).sum((1, 2)), np.float64)


if __name__ == "__main__":
    main()
