"""``samdeploy predict``: what it accepts, writes and prints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from samdeploy import SAM
from samdeploy.rle import Rle
from samdeploy.scenes import Scene

Done = Callable[..., Any]
FAKE = ("model=anything", "runtime=fake")


def pixels(path: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(path).convert("RGB"))


def masks_of(record: Path) -> NDArray[np.bool_]:
    return np.stack(
        [
            Rle.from_coco(mask["segmentation"]).decode()
            for mask in json.loads(record.read_text())["masks"]
        ]
    )


def test_point_writes_an_overlay_and_a_record(
    done: Done, picture: Path, scene: Scene, tmp_path: Path
) -> None:
    outcome = done("predict", *FAKE, f"source={picture}", "points=[[120,90]]", "labels=[1]")
    assert "scene.png: 1 mask, best predicted IoU 0.950" in outcome.out
    assert "results in runs/predict (runtime fake, NumPy)" in outcome.out
    assert outcome.err == ""
    assert sorted(path.name for path in (tmp_path / "runs/predict").iterdir()) == [
        "scene.json", "scene.png",
    ]  # fmt: skip
    record = json.loads((tmp_path / "runs/predict/scene.json").read_text())
    assert record["image"] == str(picture)
    assert record["model"] == "anything"
    assert record["size"] == [180, 240]
    expected = SAM("anything", runtime="fake").predict(scene.image, points=[120, 90])
    np.testing.assert_array_equal(masks_of(tmp_path / "runs/predict/scene.json"), expected.data)
    changed = (pixels(tmp_path / "runs/predict/scene.png") != scene.image).any(axis=2)
    assert changed[expected.data[0]].mean() > 0.95
    assert not changed[:10].any()


@pytest.mark.parametrize(
    "words",
    [
        ["bboxes=[20,30,90,110]"],
        ["--bboxes", "[20,30,90,110]"],
        ["--bboxes=[20,30,90,110]"],
        ["bboxes=20,30,90,110"],
        ["bboxes=[[20,30,90,110]]"],
        ["--bboxes=[20, 30, 90, 110]"],
    ],
)
def test_every_way_of_writing_is_the_same(
    done: Done, picture: Path, tmp_path: Path, words: list[str]
) -> None:
    done("predict", *FAKE, "--source", str(picture), *words, "output=out")
    expected = SAM("x", runtime="fake").predict(picture, bboxes=[20, 30, 90, 110]).data
    np.testing.assert_array_equal(masks_of(tmp_path / "out/scene.json"), expected)


def test_mask_files(done: Done, picture: Path, tmp_path: Path) -> None:
    mask = np.zeros((180, 240), np.uint8)
    mask[40:120, 60:160] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    Image.fromarray(mask[::-1]).save(tmp_path / "other.png")
    done("predict", *FAKE, f"source={picture}", "masks=mask.png", "output=one")
    done("predict", *FAKE, f"source={picture}", "masks=[mask.png, other.png]", "output=two")
    sam = SAM("x", runtime="fake")
    expected = sam.predict(picture, masks=np.stack([mask, mask[::-1]]) > 127).data
    np.testing.assert_array_equal(masks_of(tmp_path / "one/scene.json"), expected[:1])
    np.testing.assert_array_equal(masks_of(tmp_path / "two/scene.json"), expected)


def test_several_prompts_and_multimask(done: Done, picture: Path) -> None:
    words = ("predict", *FAKE, f"source={picture}", "json=True", "points=[[60,60],[200,120]]")
    assert done(*words, "labels=[1,1]").json[0]["masks"] == 2
    assert done(*words, "--multimask").json[0]["masks"] == 6
    one_prompt = ("points=[[[60,60],[200,120]]]", "labels=[[1,0]]")
    assert done(*words[:-1], *one_prompt).json[0]["masks"] == 1


def test_whole_image(done: Done, picture: Path, tmp_path: Path) -> None:
    settings = {"points_stride": 4, "stability_score_thresh": 0.5, "nms_thresh": 0.3}
    # Meta's names and those of Ultralytics are the same keys.
    words = ("points_per_side=4", "--stability-score-thresh", "0.5", "box_nms_thresh=0.3")
    done("predict", *FAKE, f"source={picture}", *words, "output=out")
    expected = SAM("x", runtime="fake").generate(picture, **settings)
    assert len(expected) > 2
    np.testing.assert_array_equal(masks_of(tmp_path / "out/scene.json"), expected.data)


def test_whole_image_without_any_mask(done: Done, picture: Path, scene: Scene) -> None:
    words = ("points_stride=2", "conf_thres=1", "output=out", "json=1")
    found = done("predict", *FAKE, f"source={picture}", *words).json
    assert (found[0]["masks"], found[0]["scores"]) == (0, [])
    np.testing.assert_array_equal(pixels(Path(found[0]["picture"])), scene.image)


class TestSources:
    @pytest.fixture
    def folder(self, scene: Scene, tmp_path: Path) -> Path:
        """Pictures whose results would collide by stem or by case."""
        folder = tmp_path / "pictures"
        (folder / "deep").mkdir(parents=True)
        for name in ("a.png", "a.jpg", "B.png", "deep/b.png"):
            Image.fromarray(scene.image).save(folder / name)
        (folder / "notes.txt").write_text("no picture")
        return folder

    def test_folder(self, done: Done, folder: Path, tmp_path: Path) -> None:
        found = done("predict", *FAKE, f"source={folder}", "points=[60,60]", "json=yes").json
        assert [entry["image"] for entry in found] == ["B.png", "a.jpg", "a.png"]
        assert len({entry["picture"] for entry in found}) == 3
        assert len(list((tmp_path / "runs/predict").iterdir())) == 6

    def test_glob(self, done: Done, folder: Path) -> None:
        found = done("predict", *FAKE, "source=pictures/**/*.png", "points=[60,60]", "--json").json
        assert [entry["image"] for entry in found] == ["B.png", "a.png", "b.png"]
        assert [Path(entry["picture"]).name for entry in found] == ["B.png", "a.png", "b_2.png"]

    def test_video(self, done: Done, scene: Scene, tmp_path: Path) -> None:
        writer = cv2.VideoWriter(
            str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 5, (240, 180)
        )
        for _ in range(3):
            writer.write(scene.image[..., ::-1])
        writer.release()
        outcome = done("predict", *FAKE, "source=clip.avi", "points=[60,60]", "output=out")
        assert outcome.out.count(" 1 mask,") == 3
        frames = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
        assert frames == [f"clip_{number:06d}.png" for number in (1, 2, 3)]
        assert (
            np.abs(
                pixels(tmp_path / "out/clip_000002.png")[:20].astype(int) - scene.image[:20]
            ).mean()
            < 12
        )


class TestOutput:
    def test_runs_are_numbered(self, done: Done, picture: Path, tmp_path: Path) -> None:
        words = ("predict", *FAKE, f"source={picture}", "points=[60,60]")
        for _ in range(3):
            done(*words)
        (tmp_path / "runs/predict2/scene.png").unlink()
        done(*words, "project=elsewhere", "name=mine")
        made = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*/scene.json"))
        assert made == [
            "elsewhere/mine/scene.json",
            "runs/predict/scene.json",
            "runs/predict2/scene.json",
            "runs/predict3/scene.json",
        ]

    def test_output_may_exist(self, done: Done, picture: Path, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out/other.txt").write_text("kept")
        for _ in range(2):
            done("predict", *FAKE, f"source={picture}", "points=[60,60]", "output=out")
        assert len(list((tmp_path / "out").iterdir())) == 3

    def test_json_for_machines(self, done: Done, picture: Path) -> None:
        found = done("predict", *FAKE, f"source={picture}", "points=[60,60]", "--json").json
        assert [sorted(entry) for entry in found] == [
            ["image", "json", "masks", "picture", "scores", "seconds"]
        ]
        assert Path(found[0]["picture"]).is_file()
        assert Path(found[0]["json"]).is_file()

    def test_what_was_written_before_a_failure_stays_whole(
        self, cli: Done, scene: Scene, tmp_path: Path
    ) -> None:
        (tmp_path / "pictures").mkdir()
        Image.fromarray(scene.image).save(tmp_path / "pictures/a.png")
        (tmp_path / "pictures/b.png").write_bytes(b"no image")
        outcome = cli("predict", *FAKE, "source=pictures", "points=[60,60]", "output=out")
        assert outcome.code == 2
        assert "b.png" in outcome.err
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.json", "a.png"]


def test_on_a_bundle(done: Done, small_bundle: Path, picture: Path, tmp_path: Path) -> None:
    words = ("predict", f"model={small_bundle}", f"source={picture}", "threads=1", "output=out")
    outcome = done(*words, "points=[[120,90]]", "labels=[1]")
    assert "(runtime onnxruntime, CPUExecutionProvider)" in outcome.out
    with SAM(small_bundle, threads=1) as sam:
        expected = sam.predict(picture, points=[120, 90]).data
    np.testing.assert_array_equal(masks_of(tmp_path / "out/scene.json"), expected)
