"""Score a model on the photographs of tests/photographs, which nothing was trained on.

    python tools/evaluate_photographs.py --model sam_tiny.pt

Prints a table: mean IoU over the objects of each picture, then over pictures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from samdeploy.benchmarks.photo_scores import mean_over_pictures, score_photographs
from samdeploy.sam import SAM

FOLDER = Path(__file__).parents[1] / "tests/photographs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="sam_tiny.pt", help="checkpoint or bundle")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    with SAM(args.model, threads=args.threads) as sam:
        scores = score_photographs(sam, FOLDER)
    rows = {f"{name} ({len(p.shares)})": p.means() for name, p in scores.items()}
    rows["mean of pictures"] = mean = mean_over_pictures(scores)
    print("| picture (objects) | " + " | ".join(score.replace("_", " ") for score in mean) + " |")
    print("|---" * (1 + len(mean)) + "|")
    for name, means in rows.items():
        print(f"| {name} | " + " | ".join(f"{means[score]:.2f}" for score in mean) + " |")


if __name__ == "__main__":
    main()
