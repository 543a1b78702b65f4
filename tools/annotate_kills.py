"""Labels of 200 generated scenes: their quality, ten SIGKILLs, one corrupt image.

    python tools/annotate_kills.py [--images 200] [--kills 10] [--model sam_tiny.pt|BUNDLE]

Boxes are those of the true masks. Prints the mean IoU of the labels, whether the tree of the killed
run equals that of a run left alone, and what became of the corrupt image.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

import samdeploy
from samdeploy.benchmarks.track_scores import outer_box
from samdeploy.scenes import generate_scene


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--model", default="sam_tiny.pt")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        root = Path(work)
        masks = make_scenes(root, options.images)
        given = Path(options.model).resolve()
        bundle = (
            given if given.is_dir() else samdeploy.export(options.model, output=root / "bundle")
        )
        base = ["data=images", "boxes=given", f"sam_model={bundle}"]
        assert annotate(root, *base, "output_dir=plain")["labelled"] == options.images
        print(f"mean IoU of labels: {mean_iou(root / 'plain', masks):.4f}")
        base.append("zoom=True")
        assert annotate(root, *base, "output_dir=alone")["labelled"] == options.images
        print(f"mean IoU of labels with zoom=True: {mean_iou(root / 'alone', masks):.4f}")

        rng = random.Random(0)
        for number in range(options.kills):
            kill(root, base, options.images * (number + 1) // (options.kills + 1), rng)
        assert annotate(root, *base, "output_dir=killed")["labelled"] == options.images
        same = tree(root / "killed") == tree(root / "alone")
        print(f"after {options.kills} kills: {'identical' if same else 'DIFFERENT'}")

        (root / "images" / "scene0000.png").write_bytes(b"corrupt")
        found = annotate(root, *base, "output_dir=corrupt", code=1)
        print(f"one corrupt: {found['labelled']} labelled, reported {list(found['failed'])}")
    raise SystemExit(not same)


def make_scenes(root: Path, count: int) -> dict[str, np.ndarray]:
    (root / "images").mkdir()
    (root / "given").mkdir()
    masks = {}
    for index in range(count):
        scene, name = generate_scene(500_000 + index), f"scene{index:04d}"
        Image.fromarray(scene.image).save(root / "images" / f"{name}.png")
        height, width = scene.image.shape[:2]
        lines = []
        for mask in scene.masks:
            x1, y1, x2, y2 = outer_box(mask) / [width, height, width, height]
            lines.append(f"0 {(x1 + x2) / 2:.6f} {(y1 + y2) / 2:.6f} {x2 - x1:.6f} {y2 - y1:.6f}")
        (root / "given" / f"{name}.txt").write_text("\n".join(lines))
        masks[name] = scene.masks
    return masks


def command(words: list[str]) -> list[str]:
    return [sys.executable, "-m", "samdeploy", "annotate", "--json", *words]


def annotate(root: Path, *words: str, code: int = 0) -> dict[str, object]:
    done = subprocess.run(
        command(list(words)), cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    found = json.loads(done.stdout)
    return {**found, "labelled": found["images"] - len(found["failed"])}


def kill(root: Path, base: list[str], wanted: int, rng: random.Random) -> None:
    """Start, and kill at a random moment after ``wanted`` images are done."""
    journal = root / "killed" / ".samdeploy" / "journal.jsonl"
    process = subprocess.Popen(
        command([*base, "output_dir=killed"]), cwd=root, stderr=subprocess.DEVNULL
    )
    while process.poll() is None:
        if journal.is_file() and journal.read_bytes().count(b"\n") > wanted:
            break
        time.sleep(0.001)
    time.sleep(rng.uniform(0, 0.1))
    process.kill()
    assert process.wait() == -9, "the run ended before it was killed"


def mean_iou(labels: Path, masks: dict[str, np.ndarray]) -> float:
    """Mean IoU of each true mask with the line that fits it best, filled as trainers fill it."""
    scores = []
    for name, truth in masks.items():
        lines = (labels / f"{name}.txt").read_text().splitlines()
        found = [filled(line, truth.shape[1:]) for line in lines]
        for mask in truth:
            ious = [(mask & one).sum() / (mask | one).sum() for one in found]
            scores.append(max(ious, default=0.0))
    return float(np.mean(scores))


def filled(line: str, size: tuple[int, ...]) -> np.ndarray:
    points = np.array(line.split()[1:], np.float32).reshape(-1, 2) * size[::-1]
    out = np.zeros(size, np.uint8)
    cv2.fillPoly(out, [points.astype(np.int32)], 1)
    return out.astype(bool)


def tree(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


if __name__ == "__main__":
    main()
