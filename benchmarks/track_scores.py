"""How well objects of moving scenes are followed.

    python -m samdeploy.benchmarks.track_scores [--model sam_tiny.pt] [--clips 20] [name=value ...]

Followed are the three largest objects of a clip among those of which at least 90 % is visible in
the first frame and which fill at least 1 % of it; they are asked for with the box of what is
visible. Further words are settings of tracking, such as ``search_frames=30``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samdeploy.masks.postprocess import mask_boxes, pairwise_iou
from samdeploy.moving_scenes import SceneFrame, moving_scene
from samdeploy.sam import SAM

#: Objects that are followed in a clip, and what they have to be like in the first frame.
MOST_OBJECTS = 3
LEAST_VISIBLE, LEAST_SHARE = 0.9, 0.01
#: Visible share of the image from which on an object is there; without any pixel it is gone. What
#: is between counts in no figure.
THERE_SHARE = 100 / 256**2
#: A mask that overlaps its object less than this is of something else.
WRONG_IOU = 0.3


@dataclass
class TrackScores:
    """Counts over objects and frames, the first frame of each clip included.

    Attributes:
        overlaps: IoU with the truth where an object is there and was reported.
        missed: how often one is there and was reported as lost.
        gone: how often one is gone.
        false: how often a mask was reported of one that is gone.
        frames: of all clips together.
        seconds: of the processor that following took, without making the scenes; other work on the
            machine hardly changes it.
        objects: that were followed.
    """

    overlaps: list[float] = field(default_factory=list)
    missed: int = 0
    gone: int = 0
    false: int = 0
    frames: int = 0
    seconds: float = 0.0
    objects: int = 0

    def summary(self) -> dict[str, float]:
        """The figures that are reported. ``iou_followed`` is over the frames in which an object is
        followed, ``iou_all`` over all in which it is there: those in which it is lost count as 0.
        """
        there = max(1, len(self.overlaps) + self.missed)
        return {
            "objects": self.objects,
            "frames": self.frames,
            "there": len(self.overlaps) + self.missed,
            "iou_followed": round(sum(self.overlaps) / max(1, len(self.overlaps)), 4),
            "iou_all": round(sum(self.overlaps) / there, 4),
            "lost_though_there": self.missed,
            "wrong_object": sum(overlap < WRONG_IOU for overlap in self.overlaps),
            "gone": self.gone,
            "followed_though_gone": self.false,
            "cpu_ms_per_frame": round(1000 * self.seconds / max(1, self.frames), 1),
        }


def chosen_objects(first: SceneFrame) -> NDArray[np.intp]:
    """Indices of the objects that are followed, largest first; see the top of this file."""
    shares = first.masks.mean(axis=(1, 2))
    fitting = (first.visible >= LEAST_VISIBLE) & (shares >= LEAST_SHARE)
    order = [index for index in np.argsort(-shares, kind="stable") if fitting[index]]
    return np.array(order[:MOST_OBJECTS], np.intp)


def outer_box(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """x1 y1 x2 y2 of the outer edges of the pixels of ``mask``, in image pixels."""
    return np.asarray(mask_boxes(mask[None])[0] + np.array([0, 0, 1, 1]), np.float64)


def score_clip(sam: SAM, clip: list[SceneFrame], scores: TrackScores, **settings: Any) -> None:
    """Follow the chosen objects of ``clip`` and add to ``scores``."""
    objects = chosen_objects(clip[0])
    if not len(objects):
        return
    boxes = [outer_box(clip[0].masks[index]) for index in objects]
    images = [frame.image for frame in clip]
    started = time.process_time()
    results = list(sam.track(images, bboxes=boxes, stream=True, channel_order="rgb", **settings))
    scores.seconds += time.process_time() - started
    scores.frames += len(clip)
    scores.objects += len(objects)
    for frame, result in zip(clip, results, strict=True):
        found = dict(zip(result.ids.tolist(), result.masks.iter_data(), strict=True))
        for id, index in enumerate(objects):
            truth = frame.masks[index]
            if not truth.any():
                scores.gone += 1
                scores.false += id in found
            elif truth.mean() >= THERE_SHARE:
                if id in found:
                    overlap = pairwise_iou(found[id][None], truth[None])[0, 0]
                    scores.overlaps.append(float(overlap))
                else:
                    scores.missed += 1


def score_clips(
    sam: SAM, seeds: Iterable[int], frames: int = 60, size: int = 256, **settings: Any
) -> Iterator[tuple[int, TrackScores]]:
    """Each seed with the scores of its clip."""
    for seed in seeds:
        scores = TrackScores()
        score_clip(sam, list(moving_scene(seed, frames, size)), scores, **settings)
        yield seed, scores


def total(parts: Iterable[TrackScores]) -> TrackScores:
    """The scores of several clips together."""
    whole = TrackScores()
    for part in parts:
        for name, value in vars(part).items():
            setattr(whole, name, getattr(whole, name) + value)
    return whole


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="sam_tiny.pt", help="checkpoint or bundle")
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="seed of the first clip")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--output", type=Path, help="JSON record of the figures, clip by clip")
    parser.add_argument("settings", nargs="*", help="name=value")
    args = parser.parse_args()
    settings = {name: json.loads(value) for name, value in (s.split("=") for s in args.settings)}
    seeds = range(args.first, args.first + args.clips)
    clips: dict[int, TrackScores] = {}
    with SAM(args.model, threads=args.threads) as sam:
        for seed, scores in score_clips(sam, seeds, args.frames, **settings):
            clips[seed] = scores
            print(seed, json.dumps(scores.summary()), flush=True)
    summary = total(clips.values()).summary()
    print("all", json.dumps(summary))
    if args.output:
        record = {
            "model": args.model,
            "frames": args.frames,
            "settings": settings,
            "all": summary,
            "clips": {str(seed): scores.summary() for seed, scores in clips.items()},
        }
        args.output.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
