"""Checks what `make web-demo` downloaded: other tools read it, and Python finds the same.

Usage: python tools/check_web_demo.py BUNDLE SITE OUTPUT
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools.coco import COCO

from samdeploy import SAM

Mask = NDArray[np.bool_]


def main(bundle: Path, site: Path, output: Path) -> None:
    picture = site / "sample.jpg"
    with SAM(bundle) as sam:
        clicked = json.loads((output / "click.json").read_text())
        (mask,) = _masks(output / "click_coco.json")
        three = sam.predict(picture, points=clicked["point"], multimask=True)
        click = _iou(mask, three.data[int(np.argmax(three.scores))])
        _say(f"the click: IoU with Python's {click:.4f}", click >= 0.99)

        found = _masks(output / "everything.json")
        expected = sam.generate(picture)
        matched = sum(max(_iou(own, other) for other in found) >= 0.95 for own in expected.data)
        _say(
            f"everything: {len(found)} masks, Python has {len(expected)}, {matched} are the same",
            matched >= 0.95 * len(expected) and abs(len(found) - len(expected)) <= 3,
        )

    blob = _masks(output / "two_coco.json")[1]
    height, width = blob.shape
    white = np.asarray(Image.open(output / "sample_mask.png").convert("L")) > 0
    _say("the PNG mask is that of the active object", bool((white == blob).all()))
    cutout = np.asarray(Image.open(output / "sample_cutout.png"))
    _say("the cut-out is transparent elsewhere", bool(((cutout[..., 3] > 0) == blob).all()))
    with zipfile.ZipFile(output / "sample_yolo.zip") as archive:
        lines = archive.read("labels/sample.txt").decode().splitlines()
        assert "blob" in archive.read("data.yaml").decode()
    number, *shares = lines[1].split()
    corners = np.asarray(shares, float).reshape(-1, 2) * (width, height)
    drawn = np.zeros((height, width), np.uint8)
    cv2.fillPoly(drawn, [np.round(corners).astype(np.int32)], 1)
    yolo = _iou(drawn > 0, blob)
    _say(f"the YOLO outline: class {number}, IoU {yolo:.3f}", number == "1" and yolo >= 0.97)
    for name, value in json.loads((output / "times.json").read_text()).items():
        print(f"{name}: {value}")


def _masks(path: Path) -> list[Mask]:
    """The masks of a COCO file, as pycocotools reads them; areas and boxes fit them."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(path))
    masks = []
    for annotation in coco.loadAnns(coco.getAnnIds()):
        mask: Mask = coco.annToMask(annotation).astype(bool)
        x, y, width, height = annotation["bbox"]
        assert mask.sum() == annotation["area"] == mask[y : y + height, x : x + width].sum()
        masks.append(mask)
    assert masks, f"{path} has no annotation"
    return masks


def _iou(one: Mask, other: Any) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))


def _say(what: str, good: bool) -> None:
    print(f"{'ok  ' if good else 'FAIL'} {what}", flush=True)
    if not good:
        sys.exit(1)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
