"""``samdeploy predict``: what it accepts, writes and prints."""

from __future__ import annotations

import errno
import io
import itertools
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from samdeploy import SAM
from samdeploy.masks.masks import Masks
from samdeploy.masks.rle import Rle
from samdeploy.scenes import Scene

pytestmark = pytest.mark.exporting

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

    def test_video(self, done: Done, cli: Done, scene: Scene, tmp_path: Path) -> None:
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
        outcome = cli("predict", *FAKE, "source=clip.avi", "points=[60,60]", "max_pixels=43199")
        assert outcome.code == 2
        assert "43200 pixels; expected at most 43199" in outcome.err


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
        outcome = cli("predict", *FAKE, "source=pictures/[ab].png", "points=[60,60]", "output=out")
        assert outcome.code == 1
        assert "b.png" in outcome.err
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.json", "a.png"]


class TestOneOfSeveral:
    """A file that cannot be used is left out and named; the others are done."""

    @pytest.fixture
    def folder(self, scene: Scene, tmp_path: Path) -> Path:
        folder = tmp_path / "pictures"
        folder.mkdir()
        for name in ("a.png", "c.png"):
            Image.fromarray(scene.image).save(folder / name)
        (folder / "b.png").write_bytes((folder / "a.png").read_bytes()[:5000])
        (folder / "._a.png").write_bytes(b"\0\x05\x16\x07" + bytes(300))  # as macOS leaves them
        Image.fromarray(scene.image[:40, :40]).save(folder / "small.png")  # the prompt is outside
        (folder / "clip.mp4").write_bytes(b"no video")
        return folder

    @pytest.mark.parametrize("source", ["pictures", "pictures/*"])
    def test_the_others_are_done(
        self, cli: Done, folder: Path, tmp_path: Path, source: str
    ) -> None:
        words = ("predict", *FAKE, f"source={source}", "points=[60,60]", "output=out")
        outcome = cli(*words)
        assert outcome.code == 1
        names = sorted(path.name for path in (tmp_path / "out").iterdir())
        assert names == ["a.json", "a.png", "c.json", "c.png"]
        lines = outcome.err.splitlines()
        assert "b.png was left out: image 'pictures/b.png' cannot be read" in outcome.err
        assert any("small.png was left out: point (60, 60) is outside" in line for line in lines)
        if source == "pictures":
            assert any(line.startswith("._a.png was left out") for line in lines)
            assert "passed over (1 .mp4: clip.mp4)" in outcome.err
            assert "3 of 5 left out" in outcome.out
        else:
            assert any(line.startswith("clip.mp4 was left out") for line in lines)
        found = {entry["image"]: entry for entry in cli(*words, "json=1").json}
        assert found["b.png"]["error"].startswith("image 'pictures/b.png'")
        assert found["a.png"]["masks"] == 1

    def test_the_only_one_is_an_error(self, cli: Done, folder: Path) -> None:
        outcome = cli("predict", *FAKE, f"source={folder}/b.png", "points=[60,60]", "output=out")
        assert outcome.code == 2
        assert outcome.err.startswith("error: image")

    def test_all_of_them(self, cli: Done, folder: Path, tmp_path: Path) -> None:
        outcome = cli("predict", *FAKE, "source=pictures", "points=[900,60]", "output=out")
        assert outcome.code == 1
        assert outcome.out == ""
        assert outcome.err.count("was left out") == 5
        assert not (tmp_path / "out").exists()

    def test_no_memory_for_one(
        self, cli: Done, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        predict = SAM.predict

        def fail(self: SAM, image: NDArray[np.uint8], **arguments: Any) -> Any:
            if image.shape[0] > 100:
                raise MemoryError
            return predict(self, image, **arguments)

        monkeypatch.setattr(SAM, "predict", fail)
        outcome = cli("predict", *FAKE, "source=pictures", "points=[6,6]", "output=out")
        assert outcome.code == 1
        assert "a.png was left out: an image of 240 x 180 pixels does not fit into m" in outcome.err
        assert "small.png: 1 mask" in outcome.out

    def test_a_full_disk_ends_the_run(
        self, cli: Done, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        def fail(*args: object, **kwargs: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Path, "write_bytes", fail)
        outcome = cli("predict", *FAKE, "source=pictures", "points=[6,6]", "output=out")
        assert outcome.code == 2
        assert outcome.err.splitlines()[-1] == (
            "error: 'out/a.png' cannot be written to (No space left on device); free some space, "
            "or choose another folder."
        )
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.json"]


class TestNames:
    def test_what_the_console_cannot_print(
        self, cli: Done, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "pictures").mkdir()
        for name in ("1", "\u540d\u524d", "z\n2"):
            Image.fromarray(scene.image).save(tmp_path / "pictures" / f"{name}.png")
        written = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "cp1252"))
        outcome = cli("predict", *FAKE, "source=pictures", "points=[60,60]", "output=out")
        assert outcome.code == 0
        lines = written.getvalue().decode("cp1252").splitlines()
        assert [line.partition(":")[0] for line in lines[:3]] == [
            "1.png", "z\\n2.png", "\\u540d\\u524d.png",
        ]  # fmt: skip
        assert len(list((tmp_path / "out").iterdir())) == 6

    @pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux alone")
    def test_a_name_that_is_not_utf8(self, done: Done, scene: Scene, tmp_path: Path) -> None:
        name = os.fsdecode(b"caf\xe9")
        (tmp_path / "pictures").mkdir()
        with (tmp_path / "pictures" / f"{name}.png").open("wb") as file:
            Image.fromarray(scene.image).save(file, "PNG")
        words = ("predict", *FAKE, "source=pictures", "points=[60,60]", "output=out")
        assert "caf\\udce9.png: 1 mask" in done(*words).out
        found = done(*words, "json=1").json[0]
        assert found["image"] == "caf\\udce9.png"
        record = (tmp_path / "out" / f"{name}.json").read_bytes()
        # A reader of strict UTF-8 takes it.
        assert msgspec.json.decode(record)["image"] == "pictures/caf\\udce9.png"

    def test_a_name_without_room_for_another_end(
        self, done: Done, scene: Scene, tmp_path: Path
    ) -> None:
        (tmp_path / "pictures").mkdir()
        for number in "12":
            long = "\u540d" * 83 + number  # 250 bytes and the end
            Image.fromarray(scene.image).save(tmp_path / "pictures" / f"{long}.png")
        done("predict", *FAKE, "source=pictures", "points=[60,60]", "output=out")
        names = [path.name for path in (tmp_path / "out").iterdir()]
        assert len(names) == 4
        assert all(name.startswith("\u540d" * 70) for name in names)


def test_deep_images_and_large_ones(done: Done, cli: Done, tmp_path: Path) -> None:
    values = np.linspace(0, 3500, 180 * 240).astype(np.uint16).reshape(180, 240)
    Image.fromarray(values).save(tmp_path / "deep.tif")
    words = ("predict", *FAKE, "source=deep.tif", "points=[60,60]", "output=out")
    assert done(*words).err.startswith("warning: image 'deep.tif' holds values up to 3500")
    for said, white in (("bit_depth=12", 4095), ("window=[0,7000]", 7000), ("window=0,3500", 3500)):
        done(*words, said)
        shown = pixels(tmp_path / "out/deep.png")[-1, -1, 0]
        assert shown == round(3500 / white * 255)
    assert "expected at most 43199" in cli(*words, "max_pixels=43199").err
    assert "give one of them" in cli(*words, "bit_depth=12", "window=[0,1]").err


def test_many_notices_of_one_kind_are_counted(done: Done, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for index in range(6):
        Image.fromarray(np.full((40, 40), 900 + index, np.uint16)).save(
            tmp_path / "deep" / f"{index}.png"
        )
    outcome = done("predict", *FAKE, "source=deep", "points=[6,6]", "output=out")
    lines = outcome.err.splitlines()
    assert [line.startswith(f"warning: image 'deep/{i}.png'") for i, line in enumerate(lines)] == [
        True, True, True, False,
    ]  # fmt: skip
    assert lines[3].startswith("warning: 3 more like this: image 'deep/0.png' holds values up to")


def test_on_a_bundle(done: Done, small_bundle: Path, picture: Path, tmp_path: Path) -> None:
    words = ("predict", f"model={small_bundle}", f"source={picture}", "threads=1", "output=out")
    outcome = done(*words, "points=[[120,90]]", "labels=[1]")
    assert "(runtime onnxruntime, CPUExecutionProvider)" in outcome.out
    with SAM(small_bundle, threads=1) as sam:
        expected = sam.predict(picture, points=[120, 90]).data
    np.testing.assert_array_equal(masks_of(tmp_path / "out/scene.json"), expected)


def test_results_are_written_while_the_next_image_is_segmented(
    done: Done, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number in range(3):
        Image.fromarray(scene.image).save(images / f"{number}.png")
    plain_save, plain_predict = Masks.save, SAM.predict
    segmenting, images_begun = threading.Condition(), itertools.count(1)
    begun = 0

    def predict(self: SAM, *arguments: Any, **prompts: Any) -> Masks:
        nonlocal begun
        with segmenting:
            begun = next(images_begun)
            segmenting.notify_all()
        return plain_predict(self, *arguments, **prompts)

    def save(self: Masks, path: Path, **marks: Any) -> Path:
        with segmenting:
            wanted = min(int(path.stem) + 2, 3)
            assert segmenting.wait_for(lambda: begun >= wanted, timeout=30)
        return plain_save(self, path, **marks)

    monkeypatch.setattr(Masks, "save", save)
    monkeypatch.setattr(SAM, "predict", predict)
    outcome = done("predict", *FAKE, f"source={images}", "points=[[120,90]]")
    assert [line.split(":")[0] for line in outcome.out.splitlines()[:3]] == [
        "0.png", "1.png", "2.png",
    ]  # fmt: skip
