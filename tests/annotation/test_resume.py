"""A run that goes on: what changed meanwhile is done again, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samdeploy import SAM, auto_annotate
from tests.annotation.conftest import Folder, labels, tree

pytestmark = pytest.mark.exporting


def correct_boxes(folder: Folder) -> str:
    (folder.given / "s1.txt").write_text("3 0.7 0.325 0.3 0.35\n")
    return "1 image is done again: its boxes changed ('s1.png')."


def remove_boxes(folder: Folder) -> str:
    (folder.given / "s1.txt").write_text("")
    return "1 image is done again: its boxes changed ('s1.png')."


def mirror_image(folder: Folder) -> str:
    """With the time of the old file, as copying tools leave it."""
    path = folder.images / "s1.png"
    before = path.stat()
    with Image.open(path) as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((240, 180)).save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return "1 image is done again: the image changed ('s1.png')."


def lose_label(folder: Folder) -> str:
    (folder.root / "labels" / "s1.txt").unlink()
    return "1 image is done again: its files are gone ('s1.png')."


@pytest.mark.parametrize("change", [correct_boxes, remove_boxes, mirror_image, lose_label])
def test_what_changed_is_done_again(
    run: Callable[..., Any], folder: Folder, change: Callable[[Folder], str]
) -> None:
    first = run()
    sentence = change(folder)
    again = run()
    assert (again.resumed, again.notices) == (3, (sentence,))
    fresh = run(output_dir=folder.root / "fresh")
    assert labels(first.output_dir) == labels(fresh.output_dir)
    assert (run().resumed, run().notices) == (4, ())


def test_a_touched_image_is_the_same(run: Callable[..., Any], folder: Folder) -> None:
    run()
    for path in (*folder.images.iterdir(), *folder.given.iterdir()):
        os.utime(path, (1, 1))
    assert run().resumed == 4


def test_moved_boxes_are_the_same(run: Callable[..., Any], folder: Folder) -> None:
    run()
    folder.given.rename(folder.root / "moved")
    assert run(boxes=folder.root / "moved").resumed == 4


def test_an_image_that_broke_has_no_label(run: Callable[..., Any], folder: Folder) -> None:
    out = run().output_dir
    (folder.images / "s1.png").write_bytes(b"broken")
    assert list(run().failed) == ["s1.png"]
    assert not (out / "s1.txt").exists()
    assert (out / "s0.txt").exists()


def test_previews_go_when_none_are_wanted(run: Callable[..., Any]) -> None:
    out = run(previews=True).output_dir
    assert (out / "contact_sheet.jpg").is_file()
    run()
    assert not any(name.endswith(".jpg") for name in tree(out))


def test_new_weights_in_the_same_folder(
    folder: Folder, small_bundle: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "mine"
    arguments: dict[str, Any] = {"data": folder.images, "boxes": folder.given, "threads": 1}
    shutil.copytree(small_bundle, bundle)
    auto_annotate(sam_model=bundle, **arguments)
    assert auto_annotate(sam_model=bundle, **arguments).resumed == 4
    bundle.rename(tmp_path / "renamed")
    assert auto_annotate(sam_model=tmp_path / "renamed", **arguments).resumed == 4
    shutil.copytree(tiny_bundle, bundle)
    again = auto_annotate(sam_model=bundle, **arguments)
    assert again.resumed == 0
    assert "sam_model weights was '" in again.notices[0]
    fresh = auto_annotate(sam_model=bundle, **arguments, output_dir=tmp_path / "fresh")
    assert labels(again.output_dir) == labels(fresh.output_dir)


def test_whole_image_settings(folder: Folder, fake: SAM) -> None:
    """Under any of their names, as text or NumPy's numbers."""

    def run(**settings: Any) -> Any:
        return auto_annotate(
            folder.images, "none", fake, stability_score_thresh=np.float32(0), **settings
        )

    assert not run(points_stride=np.int64(2), mode="adaptive").failed
    assert run(points_per_side=2, mode="adaptive", points_batch_size=1).resumed == 4
    again = run(points_stride=2)
    assert again.resumed == 0
    assert "whole_image mode was 'adaptive' and is 'grid'" in again.notices[0]
    grids = [np.array([[0.5, 0.5], [0.25, 0.75]])]
    assert run(point_grids=grids).resumed == 0
    assert run(point_grids=grids[0][None].tolist()).resumed == 4


#: As version 0.1.0 began its journals.
EARLIER = {
    "data": "", "format": "yolo", "val": 0.0, "images": None, "bit_depth": None, "window": None,
    "boxes": {"from": "boxes", "layout": "outline"}, "detector": None,
    "sam_model": {
        "weights": "", "runtime": "fake", "device": "cpu",
        "providers": {"encoder": "NumPy", "decoder": "NumPy"}, "image_size": 64,
    },
    "whole_image": None, "classes": None, "names": {}, "category_ids": {}, "min_area": 0,
    "simplify": 0.0, "segmentation": None, "previews": False, "zoom": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "settings"),
    [
        ({}, {}),
        ({"format": "coco"}, {"format": "coco", "segmentation": "rle"}),
        (
            {"format": "coco", "segmentation": "polygon", "classes": [2, 0], "window": [0, 9]},
            {"format": "coco", "segmentation": "polygon", "classes": [0, 2], "window": [0.0, 9.0]},
        ),
    ],
)
def test_a_run_of_an_earlier_version_goes_on(
    run: Callable[..., Any], folder: Folder, changes: dict[str, Any], settings: dict[str, Any]
) -> None:
    out = run(**changes).output_dir
    journal = out / ".samdeploy" / "journal.jsonl"
    _, *records = journal.read_text().splitlines()
    data = str(folder.images.resolve())
    first = json.dumps({"settings": {**EARLIER, **settings, "data": data}})
    before = "".join(f"{line}\n" for line in (first, *records))
    journal.write_text(before)
    assert (run(**changes).resumed, run(**changes).notices) == (4, ())
    assert journal.read_text() == before


def test_numpy_numbers(run: Callable[..., Any]) -> None:
    run(min_area=np.int64(0), simplify=np.float32(0.5), val=np.float64(0.25), zoom=np.bool_(False))
    assert run(simplify=0.5, val=0.25).resumed == 4
