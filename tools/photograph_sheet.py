"""Show what one click does on photographs: the three best and the three worst answers.

    python tools/photograph_sheet.py --model sam_tiny.pt docs/images/photographs.jpg

Of each picture of tests/photographs its best and its worst object are candidates. Coloured is the
best of the three masks, white the outline drawn by hand, the dot is the click.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from evaluate_photographs import FOLDER
from numpy.typing import NDArray

from samdeploy.benchmarks.photo_scores import read_masks, read_picture
from samdeploy.benchmarks.scene_scores import interior_point
from samdeploy.masks.drawing import draw_masks
from samdeploy.masks.lettering import write
from samdeploy.masks.postprocess import pairwise_iou
from samdeploy.sam import SAM

TILE = (300, 400)  # height and width


@dataclass(frozen=True)
class Answer:
    """The best of three masks for one click on the middle of an object, and its IoU."""

    picture: str
    object: str
    click: tuple[int, int]
    mask: NDArray[np.bool_]
    truth: NDArray[np.bool_]
    iou: float


def answers(sam: SAM) -> list[list[Answer]]:
    """Of every picture, those of its objects."""
    found = []
    for picture, objects in read_masks(FOLDER).items():
        embedding = sam.encode(read_picture(FOLDER, picture), "rgb")
        of_picture = []
        for name, truth in objects.items():
            click = interior_point(truth)
            masks = sam.predict(embedding, points=[[click]], multimask=True).data
            overlaps = pairwise_iou(masks, truth[None])[:, 0]
            best = int(overlaps.argmax())
            of_picture.append(
                Answer(picture, name, click, masks[best], truth, float(overlaps[best]))
            )
        found.append(of_picture)
    return found


def draw(answer: Answer) -> NDArray[np.uint8]:
    """A tile, RGB."""
    image = draw_masks(
        read_picture(FOLDER, answer.picture), answer.mask[None], points=[[answer.click]]
    )
    outline, _ = cv2.findContours(
        answer.truth.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
    )
    cv2.drawContours(image, outline, -1, (255, 255, 255), 2, cv2.LINE_AA)
    height, width = TILE[0] - 24, TILE[1]
    scale = min(height / image.shape[0], width / image.shape[1])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    tile = np.full((*TILE, 3), 255, np.uint8)
    left = (width - small.shape[1]) // 2
    tile[: small.shape[0], left : left + small.shape[1]] = small
    text = f"{answer.picture}: {answer.object}, IoU {answer.iou:.2f}"
    write(tile, text, (6, TILE[0] - 8), 0.45, (0, 0, 0), 1)
    return tile


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="sam_tiny.pt", help="checkpoint or bundle")
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    with SAM(args.model, threads=1) as sam:
        found = answers(sam)
    best = sorted((max(a, key=lambda x: x.iou) for a in found), key=lambda x: -x.iou)[:3]
    worst = sorted((min(a, key=lambda x: x.iou) for a in found), key=lambda x: x.iou)[:3]
    rows = [np.hstack([draw(answer) for answer in row]) for row in (best, worst)]
    sheet = cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(args.out), sheet, [cv2.IMWRITE_JPEG_QUALITY, 82])


if __name__ == "__main__":
    main()
