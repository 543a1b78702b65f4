"""Resident memory of an annotation run over many small images.

    python tools/annotate_memory.py [--images 10000] [--previews]

The model is the fake runtime's, which takes no memory worth mentioning: what is measured is the
pipeline. Prints the resident size as images are done. What grows with their number are the names
and records of the images; the slope over the second half is given in bytes per image, and the exit
code is 1 when it is above 4000, which an image of 64 x 64 pixels (12288 bytes) that stayed would
exceed.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from samdeploy import auto_annotate
from samdeploy.scenes import generate_scene

LIMIT = 4000  # bytes per image
SIDE = 64  # pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--previews", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        root = Path(work)
        make_images(root, options.images)
        sizes: list[tuple[int, int]] = []

        def progress(done: int, earlier: int, total: int) -> None:
            if done % max(1, total // 20) == 0:
                sizes.append((done, resident_bytes()))
                print(f"{done:>9} images  {sizes[-1][1] / 1e6:8.1f} MB", flush=True)

        summary = auto_annotate(
            root / "images", boxes=root / "given", sam_model="any", runtime="fake",
            previews=options.previews, progress=progress,
        )  # fmt: skip
    assert summary.labelled == options.images
    half = [(done, size) for done, size in sizes if done >= options.images / 2]
    slope = np.polyfit(*zip(*half, strict=True), 1)[0]
    print(f"{slope:.0f} bytes per image, {options.images / summary.seconds:.0f} images/s")
    raise SystemExit(bool(slope > LIMIT))


def make_images(root: Path, count: int) -> None:
    """A few scenes under many names, each a file of its own."""
    for folder in ("images", "given"):
        (root / folder).mkdir()
    made = []
    for seed in range(10):
        Image.fromarray(generate_scene(seed, (SIDE, SIDE)).image).save(root / "scene.png")
        made.append((root / "scene.png").read_bytes())
    for index in range(count):
        (root / "images" / f"{index:07d}.png").write_bytes(made[index % len(made)])
        (root / "given" / f"{index:07d}.txt").write_text("0 0.5 0.5 0.6 0.6\n1 0.3 0.4 0.4 0.5\n")


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
