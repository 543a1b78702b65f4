"""Score the tiny SAM on scenes that it was not trained on; the figures of its model card.

    python tools/evaluate_tiny.py --model sam_tiny.pt

Training seeds start at 2,000,000 (tools/tiny_data.py); these scenes are those of 0 upwards.
"""

from __future__ import annotations

import argparse

from samdeploy.benchmarks.scene_scores import LARGE_SHARE, score_prompts, score_whole_image
from samdeploy.sam import SAM


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="sam_tiny.pt", help="checkpoint or bundle")
    parser.add_argument("--scenes", type=int, default=100, help="scenes for prompts")
    parser.add_argument("--whole", type=int, default=30, help="scenes for whole-image mode")
    parser.add_argument("--conf", type=float, nargs="*", default=[0.88])
    parser.add_argument("--stability", type=float, nargs="*", default=[0.95])
    parser.add_argument("--points", type=int, default=32, help="grid points along a side")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    with SAM(args.model, threads=args.threads) as sam:
        scores = score_prompts(sam, range(args.scenes))
        for title, share in (("all objects", 0.0), ("above 1 % of the image", LARGE_SHARE)):
            count = sum(s >= share for s in scores.shares)
            text = "  ".join(f"{k} {v:.3f}" for k, v in scores.means(share).items())
            print(f"{title} ({count}): {text}", flush=True)
        for conf in args.conf:
            for stability in args.stability:
                whole = score_whole_image(
                    sam,
                    range(args.whole),
                    points_stride=args.points,
                    conf_thres=conf,
                    stability_score_thresh=stability,
                )
                print(
                    f"whole image, conf_thres {conf:g}, stability {stability:g}: "
                    f"recall {whole.recall:.3f} ({whole.found} of {whole.objects}), "
                    f"false {whole.false_share:.3f} ({whole.false_masks} of {whole.masks})",
                    flush=True,
                )


if __name__ == "__main__":
    main()
