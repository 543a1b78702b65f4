"""``samdeploy track``: what it accepts, writes and prints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from samdeploy import SAM
from samdeploy.masks.rle import Rle
from samdeploy.scenes import Scene

pytestmark = pytest.mark.exporting

Done = Callable[..., Any]
FAKE = ("track", "model=anything", "runtime=fake")


@pytest.fixture
def folder(scene: Scene, tmp_path: Path) -> Path:
    (tmp_path / "clip").mkdir()
    for number in (1, 2, 10):
        Image.fromarray(scene.image).save(tmp_path / f"clip/f{number}.png")
    return tmp_path / "clip"


def lines(folder: Path) -> list[Any]:
    return [json.loads(line) for line in (folder / "tracks.jsonl").read_text().splitlines()]


def test_pictures_records_and_lines(done: Done, folder: Path, scene: Scene, tmp_path: Path) -> None:
    boxes = "bboxes=[[20,30,90,110],[120,40,200,100]]"
    outcome = done(*FAKE, f"source={folder}", boxes)
    assert "f2.png: 2 followed, " in outcome.out
    assert "results in runs/track (runtime fake, NumPy)" in outcome.out
    written = tmp_path / "runs/track"
    expected = SAM("x", runtime="fake").track(
        [scene.image] * 3, bboxes=[[20, 30, 90, 110], [120, 40, 200, 100]], channel_order="rgb"
    )
    names = ["f1", "f2", "f10"]
    found = {path.name for path in written.iterdir()}
    assert found == {"tracks.jsonl", *(f"{n}.png" for n in names), *(f"{n}.json" for n in names)}
    assert [line["name"] for line in lines(written)] == [f"{name}.png" for name in names]
    for name, line, tracked in zip(names, lines(written), expected, strict=True):
        assert line == {**tracked.to_json(), "name": f"{name}.png"}
        record = json.loads((written / f"{name}.json").read_text())
        assert record["image"] == str(folder / f"{name}.png")
        assert record["model"] == "anything"
        assert [mask["prompt"] for mask in record["masks"]] == [0, 1]
        decoded = [Rle.from_coco(mask["segmentation"]).decode() for mask in record["masks"]]
        np.testing.assert_array_equal(decoded, tracked.masks.data)
        picture = np.asarray(Image.open(written / f"{name}.png"))
        np.testing.assert_array_equal(picture, tracked.plot())


def test_a_video_and_json(done: Done, scene: Scene, tmp_path: Path) -> None:
    writer = cv2.VideoWriter(
        str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 5, (240, 180)
    )
    for _ in range(2):
        writer.write(scene.image[..., ::-1])
    writer.release()
    found = done(*FAKE, "source=clip.avi", "points=[60,60]", "output=out", "--json").json
    assert [entry["name"] for entry in found] == ["clip.avi 1", "clip.avi 2"]
    assert [entry["picture"] for entry in found] == [
        "out/clip_000001.png", "out/clip_000002.png",
    ]  # fmt: skip
    assert [[each["id"] for each in entry["objects"]] for entry in found] == [[0], [0]]


def test_settings_arrive(done: Done, folder: Path) -> None:
    """With this threshold nothing is sure enough."""
    words = ("bboxes=[20,30,90,110]", "output=out", "lost_below=1", "found_from=1")
    outcome = done(*FAKE, f"source={folder}", *words)
    assert "f2.png: 0 followed, 1 lost (0)" in outcome.out
    assert [line["lost"] for line in lines(Path("out"))] == [[], [0], [0]]


def test_help_explains_every_setting(done: Done) -> None:
    text = " ".join(done("track", "--help").out.split())
    assert "--search_frames" in text
    assert "for so many frames a lost object is looked for" in text


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([], "nothing to follow; give points, bboxes or masks of the first frame."),
        (["points=[]"], "are an empty list"),
        (["points=[500,3]"], "point (500, 3) is outside the image"),
        (["points=[5,3]", "lost_below=2"], "lost_below=2.0; expected a number from 0 to 1."),
        (["points=[5,3]", "search_frames=x"], "search_frames=x; expected a whole number."),
        (["points=[5,3]", "search_frame=3"], "did you mean 'search_frames'?"),
        (["points=[5,3]", "output=clip"], "is the folder of the source images"),
    ],
)
def test_bad_input(cli: Done, folder: Path, words: list[str], why: str) -> None:
    outcome = cli(*FAKE, f"source={folder}", *words)
    assert outcome.code == 2
    assert why in outcome.err
    assert outcome.err.count("\n") == 1
    assert outcome.out == ""


def test_frames_of_different_sizes(cli: Done, folder: Path) -> None:
    Image.new("RGB", (32, 24)).save(folder / "f3.png")
    outcome = cli(*FAKE, f"source={folder}", "bboxes=[20,30,90,110]", "output=out")
    assert outcome.code == 2
    assert "frame 2 (f3.png) has 32 x 24 pixels; expected the 240 x 180" in outcome.err
    assert len(lines(Path("out"))) == 2  # what was done before is kept


def test_a_refused_call_leaves_no_trace(cli: Done, done: Done, folder: Path) -> None:
    call = (*FAKE, f"source={folder}", "output=out")
    done(*call, "bboxes=[20,30,90,110]")
    before = lines(Path("out"))
    assert len(before) == 3
    assert cli(*call, "points=[500,3]").code == 2
    assert lines(Path("out")) == before
    assert cli(*FAKE, f"source={folder}", "points=[500,3]").code == 2
    assert not Path("runs").exists()


def test_a_detector_cannot(cli: Done, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from samdeploy import YOLO

    monkeypatch.setattr("samdeploy.cli.track.class_of", lambda model: YOLO)
    outcome = cli(*FAKE, f"source={folder}", "bboxes=[20,30,90,110]")
    assert outcome.code == 2
    assert "model=anything is a YOLO; track needs a SAM." in outcome.err
