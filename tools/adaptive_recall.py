"""``mode="adaptive"`` beside the full grid: what it finds, and the time that it takes.

    python tools/adaptive_recall.py [--model sam_tiny.pt|BUNDLE] [--scenes 16] [--points 32]

On scenes that the shipped model was not trained on. Masks found again are those of the full grid
that have one of IoU 0.9 in the other mode; recall is of objects above 1 % of the image, at IoU 0.7.
Times are medians over the scenes, both modes on each scene in turn.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from samdeploy import SAM
from samdeploy.benchmarks.scene_scores import FOUND_IOU, LARGE_SHARE
from samdeploy.masks.postprocess import pairwise_iou
from samdeploy.scenes import generate_scene

MODES = ("grid", "adaptive")
FIRST_SEED = 3000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="sam_tiny.pt")
    parser.add_argument("--scenes", type=int, default=16)
    parser.add_argument("--points", type=int, default=32, help="grid points along a side")
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {mode: [] for mode in MODES}
    masks = dict.fromkeys(MODES, 0)
    found = dict.fromkeys(MODES, 0)
    objects = again = 0
    with SAM(options.model) as sam:
        for seed in range(FIRST_SEED, FIRST_SEED + options.scenes):
            scene = generate_scene(seed, 256)
            large = scene.masks[scene.masks.mean(axis=(1, 2)) >= LARGE_SHARE]
            objects += len(large)
            answers = {}
            for mode in MODES:
                start = time.perf_counter()
                answer = sam.generate(
                    scene.image, channel_order="rgb", points_stride=options.points, mode=mode
                )
                seconds[mode].append(time.perf_counter() - start)
                answers[mode] = answer.data
                masks[mode] += len(answer)
                overlaps = pairwise_iou(large, answer.data).max(axis=1, initial=0)
                found[mode] += int(np.count_nonzero(overlaps >= FOUND_IOU))
            same = pairwise_iou(answers["grid"], answers["adaptive"]).max(axis=1, initial=0)
            again += int(np.count_nonzero(same >= 0.9))
    ratio = statistics.median(seconds["grid"]) / statistics.median(seconds["adaptive"])
    print(f"{options.scenes} scenes, {options.points} x {options.points} points")
    for mode in MODES:
        print(
            f"{mode}: {statistics.median(seconds[mode]) * 1000:.0f} ms, {masks[mode]} masks, "
            f"recall {found[mode] / objects:.3f} ({found[mode]} of {objects})"
        )
    print(f"adaptive is {ratio:.1f} x as fast; found again: {again} of {masks['grid']}")


if __name__ == "__main__":
    main()
