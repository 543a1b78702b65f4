"""Compare whole-image masks found by default with those of ``exact=True``, mask by mask.

    python tools/exact_masks.py [--size 256] [--scenes 48] [name=value ...]

On generated scenes that the tiny model was not trained on. A mask of one that has none like it (IoU
of 0.95) in the other counts as wrongly kept or wrongly dropped. Further words are settings of both,
such as ``stability_score_thresh=0.92``.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from samdeploy import SAM
from samdeploy.masks.postprocess import pairwise_iou
from samdeploy.scenes import generate_scene

_SAME = 0.95


def alone(masks: NDArray[np.bool_], others: NDArray[np.bool_]) -> int:
    """How many of ``masks`` have none like them among ``others``."""
    if not len(masks):
        return 0
    best = pairwise_iou(masks, others).max(axis=1, initial=0)
    return int((best < _SAME).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="sam_tiny.pt")
    parser.add_argument("--size", type=int, nargs="+", default=[256])
    parser.add_argument("--scenes", type=int, default=48)
    parser.add_argument("settings", nargs="*", help="name=value")
    args = parser.parse_args()
    settings = {name: float(value) for name, value in (s.split("=") for s in args.settings)}
    size = tuple(args.size) if len(args.size) > 1 else args.size[0]
    kept = dropped = found = expected = 0
    with SAM(args.model) as sam:
        for index in range(args.scenes):
            image = generate_scene(index, size).image
            by_default, exact = (
                sam.generate(image, channel_order="rgb", exact=way, **settings).data
                for way in (False, True)
            )
            kept += alone(by_default, exact)
            dropped += alone(exact, by_default)
            found, expected = found + len(by_default), expected + len(exact)
    print(
        f"{args.scenes} scenes: {found} masks by default, {expected} exact; {kept} wrongly kept, "
        f"{dropped} wrongly dropped"
    )


if __name__ == "__main__":
    main()
