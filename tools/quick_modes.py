"""The quicker modes beside the full grid: what they find, and the time that they take.

    python tools/quick_modes.py [--model sam_tiny.pt|BUNDLE] [--scenes 16] [--points 32]

On scenes that the shipped model was not trained on. Masks found again are those of the full grid
that have one of IoU 0.9 in the other mode; recall is of objects above 1 % of the image, at IoU 0.7.
Times are medians over the scenes, all modes on each scene in turn.

No trained detector of such scenes exists: ``proposals`` gets boxes of the scene's own objects that
are off by up to a tenth of their sides, as many false ones, and only so large a share of the true
ones as the row says. A real detector's time comes on top.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samdeploy import SAM
from samdeploy.benchmarks.scene_scores import FOUND_IOU, LARGE_SHARE
from samdeploy.benchmarks.track_scores import outer_box
from samdeploy.masks.postprocess import pairwise_iou
from samdeploy.scenes import Scene, generate_scene

#: Of ``proposals``, the share of the objects that the boxes know.
SHARES = {"proposals, all boxes": 1.0, "proposals, 3 of 4": 0.75, "proposals, half": 0.5}
MODES = ("grid", "adaptive", *SHARES)
FIRST_SEED = 3000


def proposed(scene: Scene, share: float, seed: int) -> NDArray[np.float64]:
    """Boxes ``[N, 4]`` as a detector of this recall might give."""
    random = np.random.default_rng(seed)
    height, width = scene.image.shape[:2]
    boxes = []
    for mask in scene.masks:
        box = outer_box(mask)
        off = random.uniform(-0.1, 0.1, 4) * np.tile(box[2:] - box[:2], 2)
        if random.random() < share:
            boxes.append(box + off)
        corners = np.sort(random.uniform(0, 1, (2, 2)), axis=0) * (width, height)
        boxes.append(corners.reshape(-1))
    return np.array(boxes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="sam_tiny.pt")
    parser.add_argument("--scenes", type=int, default=16)
    parser.add_argument("--points", type=int, default=32, help="grid points along a side")
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {mode: [] for mode in MODES}
    masks = dict.fromkeys(MODES, 0)
    found = dict.fromkeys(MODES, 0)
    again = dict.fromkeys(MODES, 0)
    objects = 0
    with SAM(options.model) as sam:
        for seed in range(FIRST_SEED, FIRST_SEED + options.scenes):
            scene = generate_scene(seed, 256)
            large = scene.masks[scene.masks.mean(axis=(1, 2)) >= LARGE_SHARE]
            objects += len(large)
            answers = {}
            for mode in MODES:
                chosen: dict[str, Any] = {"mode": mode, "points_stride": options.points}
                if mode in SHARES:
                    boxes = proposed(scene, SHARES[mode], seed)
                    chosen.update(mode="proposals", proposals=boxes)
                start = time.perf_counter()
                answer = sam.generate(scene.image, channel_order="rgb", **chosen)
                seconds[mode].append(time.perf_counter() - start)
                answers[mode] = answer.data
                masks[mode] += len(answer)
                overlaps = pairwise_iou(large, answer.data).max(axis=1, initial=0)
                found[mode] += int(np.count_nonzero(overlaps >= FOUND_IOU))
            for mode in MODES:
                same = pairwise_iou(answers["grid"], answers[mode]).max(axis=1, initial=0)
                again[mode] += int(np.count_nonzero(same >= 0.9))
    slowest = statistics.median(seconds["grid"])
    print(f"{options.scenes} scenes, {options.points} x {options.points} points")
    print("| mode | ms, median | masks | of the grid's | objects found |\n|---|---|---|---|---|")
    for mode in MODES:
        median = statistics.median(seconds[mode])
        print(
            f"| {mode} | {median * 1000:.0f} ({slowest / median:.1f} x as fast) | {masks[mode]} "
            f"| {again[mode]} | {found[mode]} of {objects} |"
        )


if __name__ == "__main__":
    main()
