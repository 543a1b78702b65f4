"""``samdeploy annotate``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FAKE = ("sam_model=anything", "runtime=fake")


@pytest.fixture
def images(picture: Path, tmp_path: Path) -> Path:
    """``images/one.png`` and ``images/two.png`` with a box each in ``given/``."""
    for name in ("one", "two"):
        for folder, file, content in (
            ("images", f"{name}.png", picture.read_bytes()),
            ("given", f"{name}.txt", b"1 0.5 0.5 0.5 0.5\n"),
        ):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / file).write_bytes(content)
    return tmp_path / "images"


def test_boxes(done: Callable[..., Any], images: Path) -> None:
    outcome = done("annotate", "data=images", "boxes=given", *FAKE)
    assert outcome.out.startswith("2 of 2 images, 2 objects -> ")
    assert (images.parent / "labels" / "one.txt").read_text().startswith("1 ")
    again = done("annotate", "data=images", "boxes=given", *FAKE)
    assert "2 done earlier" in again.out


def test_whole_image(done: Callable[..., Any], images: Path) -> None:
    options = ("points_stride=2", "conf_thres=0.5", "stability_score_thresh=0")
    found = done(
        "annotate", "data=images", "det_model=none", *FAKE, *options, "output_dir=out",
        "format=coco", "--json",
    ).json  # fmt: skip
    assert found["output_dir"] == "out"
    assert found["objects"] > 2
    assert found["failed"] == {}
    assert (images.parent / "out" / "annotations.json").is_file()


def test_every_setting_of_the_whole_image(done: Callable[..., Any], images: Path) -> None:
    """By each of its names, as in predict, but for those that set the detector here."""
    arguments = ("annotate", "data=images", "det_model=none", *FAKE, "--json")
    settings = (
        "points_per_side=2", "points_per_batch=3", "pred_iou_thresh=0.5",
        "stability_score_thresh=0", "stability_score_offset=0.5", "box_nms_thresh=0.6",
        "crop_n_layers=1", "crop_nms_thresh=0.6", "crop_overlap_ratio=0.3",
        "crop_n_points_downscale_factor=2", "min_mask_region_area=3", "mode=adaptive",
    )  # fmt: skip
    assert done(*arguments, *settings).json["objects"] > 0
    journal = (images.parent / "labels" / ".samdeploy" / "journal.jsonl").read_text()
    used = json.loads(journal.splitlines()[0])["settings"]["whole_image"]
    assert used == {
        "points_stride": 2, "conf_thres": 0.5, "stability_score_thresh": 0,
        "stability_score_offset": 0.5, "nms_thresh": 0.6, "crop_n_layers": 1,
        "crop_nms_thresh": 0.6, "crop_overlap_ratio": 0.3, "crop_downscale_factor": 2,
        "min_mask_region_area": 3, "point_grids": None, "exact": False, "mode": "adaptive",
        "best_only": False, "multimask_output": True, "use_m2m": False,
    }  # fmt: skip
    grids = ("point_grids=[[[0.5,0.5],[0.2,0.7]]]", "exact=True", "conf_thres=0")
    found = done(*arguments, *grids, "output_dir=o", "stability_score_thresh=0").json
    assert found["objects"] > 0


def test_help_says_what_settings_are(done: Callable[..., Any]) -> None:
    """In the words of their documentation."""
    for command in ("predict", "annotate"):
        told = " ".join(done(command, "--help").out.split())
        assert "--min_mask_region_area" in told
        assert "grid points along one side of the image [default: 32]" in told


def test_what_matches_nothing_is_said(done: Callable[..., Any], images: Path) -> None:
    (images.parent / "given" / "two.txt").rename(images.parent / "given" / "ONE2.txt")
    outcome = done("annotate", "data=images", "boxes=given", *FAKE)
    assert outcome.err.splitlines() == [
        "warning: boxes=given says nothing about 1 of 2 images ('two.png'): taken for images "
        "without objects.",
        "warning: boxes=given has 1 label file that no image is called like ('ONE2.txt').",
    ]
    assert done("annotate", "data=images", "boxes=given", "--json", *FAKE).json["notices"]


def test_a_broken_image(cli: Callable[..., Any], images: Path) -> None:
    (images / "bad.png").write_bytes(b"no image")
    (images.parent / "given" / "bad.txt").touch()
    outcome = cli("annotate", "data=images", "boxes=given", *FAKE)
    assert outcome.code == 1
    assert outcome.out.startswith("2 of 3 images, 2 objects, 1 left out -> ")
    assert outcome.err.startswith("bad.png was left out: ")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["data=nowhere", "boxes=given"], "'nowhere' does not exist"),
        (["data=images", "boxes=nowhere"], "boxes=nowhere does not exist"),
        (["data=images", "boxes=given", "format=yolov8"], "did you mean 'yolo'"),
        (["data=images", "boxes=given", "classes=cup"], "expected numbers such as"),
        (["data=images", "boxes=given", "classes=-1"], "expected class ids"),
        (["data=images", "boxes=given", "output_dir=given"], "not of an earlier run"),
        (["boxes=given"], "'annotate' needs data="),
    ],
)
def test_refused(cli: Callable[..., Any], images: Path, arguments: list[str], match: str) -> None:
    before = sorted(images.parent.rglob("*"))
    outcome = cli("annotate", *arguments, *FAKE)
    assert outcome.code == 2
    assert match in outcome.err
    assert outcome.err.count("\n") == 1
    assert sorted(images.parent.rglob("*")) == before
