"""`make demo`: export the shipped model, then segment a generated scene in every way, and two
photographs.

Pictures and records are left in runs/demo.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from samdeploy.benchmarks.photo_scores import read_masks
from samdeploy.benchmarks.scene_scores import interior_point
from samdeploy.benchmarks.track_scores import outer_box
from samdeploy.cli.app import main
from samdeploy.scenes import Scene, generate_scene

FOLDER = Path("runs/demo")
SEED, SIZE = 23, (480, 640)
PHOTOGRAPHS = Path("tests/photographs")
#: What a click and a box ask for. Their pictures have one shape.
CLICKED, BOXED = ("flower", "flower"), ("fig", "flesh")


def run(*arguments: str) -> None:
    """One command of the command line, shown as a user would type it."""
    print("\n$ samdeploy " + " ".join(arguments), flush=True)
    try:
        main(list(arguments))
    except SystemExit as end:
        if end.code:
            raise


def outer(mask: np.ndarray) -> list[int]:
    return [int(side) for side in outer_box(mask)]


def prompts(scene: Scene) -> tuple[tuple[int, int], list[int], np.ndarray]:
    """A click on the largest object, a box around the second and a mask of the third."""
    first, second, third = sorted(scene.masks, key=lambda mask: -int(mask.sum()))[:3]
    return interior_point(first), outer(second), third


def photographs(bundle: str) -> list[np.ndarray]:
    """A click and a box, asked of real pictures; drawn at the width of the scene."""
    masks, drawn = read_masks(PHOTOGRAPHS), []
    (x, y) = interior_point(masks[CLICKED[0]][CLICKED[1]])
    box = outer(masks[BOXED[0]][BOXED[1]])
    for (picture, _), prompt in ((CLICKED, f"points=[[{x},{y}]]"), (BOXED, f"bboxes={box}")):
        source, output = PHOTOGRAPHS / f"{picture}.jpg", FOLDER / "photographs"
        given = (f"model={bundle}", f"source={source}", prompt.replace(" ", ""))
        run("predict", *given, f"output={output}")
        panel = Image.open(output / f"{picture}.png")
        height = panel.height * SIZE[1] // panel.width
        drawn.append(np.asarray(panel.resize((SIZE[1], height), Image.Resampling.LANCZOS)))
    least = min(map(len, drawn))
    return [panel[:least] for panel in drawn]


def demo() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    scene = generate_scene(SEED, SIZE)
    picture, mask_file, bundle = (
        str(FOLDER / name) for name in ("scene.png", "mask.png", "sam_tiny_onnx")
    )
    (x, y), box, mask = prompts(scene)
    Image.fromarray(scene.image).save(picture)
    Image.fromarray(mask.astype(np.uint8) * 255).save(mask_file)

    run("export", "model=sam_tiny.pt", "format=onnx", f"output={bundle}")
    given = (f"model={bundle}", f"source={picture}")
    run("predict", *given, f"points=[[{x},{y}]]", "labels=[1]", f"output={FOLDER / 'point'}")
    run("predict", *given, f"bboxes={box}".replace(" ", ""), f"output={FOLDER / 'box'}")
    run("predict", *given, f"masks={mask_file}", f"output={FOLDER / 'mask'}")
    run("predict", *given, f"output={FOLDER / 'whole'}")
    ways = ("point", "box", "mask", "whole")
    panels = [np.asarray(Image.open(FOLDER / way / "scene.png")) for way in ways]
    panels += photographs(bundle)
    rows = [np.concatenate(panels[i : i + 2], axis=1) for i in (0, 2, 4)]
    Image.fromarray(np.concatenate(rows)).save(FOLDER / "all.png")
    print("\nPictures:", *sorted(str(path) for path in FOLDER.rglob("*.png")), sep="\n  ")


if __name__ == "__main__":
    demo()
