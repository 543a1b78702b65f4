"""Whatever is wrong with one image leaves that one out, and the others go on."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samdeploy import SAM, InputError, auto_annotate
from samdeploy.annotation.store import OutputError
from samdeploy.annotation.worker import Worker
from samdeploy.detections import Detections
from tests.annotation.conftest import Folder, tree

pytestmark = pytest.mark.exporting


def fail_for(name: str, error: Exception, method: Any) -> Any:
    """``method``, but with ``error`` for the image called ``name``."""

    def call(*arguments: Any) -> Any:
        path = getattr(arguments[-1], "path", arguments[-1])
        if Path(path).name == name:
            raise error
        return method(*arguments)

    return call


@pytest.mark.parametrize("step", ["read", "annotate", "write"])
@pytest.mark.parametrize(
    "error", [RuntimeError("no\nluck"), MemoryError(), OSError(5, "I/O error"), KeyError("x")]
)
def test_any_error_in_any_step(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, step: str, error: Exception
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Worker, step, fail_for("s1.png", error, getattr(Worker, step)))
        summary = run()
    assert summary.labelled == 3
    assert list(summary.failed) == ["s1.png"]
    assert summary.failed["s1.png"].startswith(f"unexpected {type(error).__name__}: ")
    assert "\n" not in summary.failed["s1.png"]
    assert run().resumed == 3


def test_an_output_error_ends_the_run(
    run: Callable[..., Any], folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Any, *arguments: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(OutputError, match=r"cannot be written to \(No space left on device\)"):
            run()
    assert not list((folder.root / "labels").glob("*.txt"))
    assert run().labelled == 4


def test_an_image_that_is_gone_before_it_is_linked(
    run: Callable[..., Any], folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Worker.write

    def delete_first(self: Worker, item: Any) -> Any:
        if item.path.name == "s1.png":
            item.path.unlink()
        return write(self, item)

    monkeypatch.setattr(Worker, "write", delete_first)
    summary = run(val=0.25)
    assert summary.failed["s1.png"].endswith(
        "s1.png' is gone; it was deleted or renamed meanwhile."
    )
    assert summary.labelled == 3


@pytest.mark.parametrize("form", ["coco", "labelme"])
@pytest.mark.skipif(sys.platform == "win32", reason="paths are shorter there")
def test_a_name_that_is_too_long_with_another_ending(
    run: Callable[..., Any], folder: Folder, form: str
) -> None:
    name = "x" * 251 + ".png"
    (folder.images / "s1.png").rename(folder.images / name)
    (folder.given / "s1.txt").rename(folder.given / f"{name[:-4]}.txt")
    summary = run(format=form)
    assert "a file cannot be called" in summary.failed[name]
    assert summary.labelled == 3


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_not_utf8(run: Callable[..., Any], folder: Folder) -> None:
    os.link(folder.images / "s0.png", os.fsencode(folder.images) + b"/caf\xe9.png")
    said: list[str] = []
    for val in (0.0, 0.25):
        summary = run(log=said.append, val=val, output_dir=folder.root / f"out{val}")
        assert summary.failed == {"caf\\udce9.png": "its name is not UTF-8; rename it."}
        assert (summary.images, summary.labelled) == (5, 4)
    assert said == ["caf\\udce9.png was left out: its name is not UTF-8; rename it."] * 2


@pytest.mark.parametrize("number", ["9223372036854775808", "1e300", "65536", "nan"])
def test_a_class_that_is_too_large(run: Callable[..., Any], folder: Folder, number: str) -> None:
    (folder.given / "s1.txt").write_text(f"{number} 0.5 0.5 0.2 0.2\n")
    assert "'s1.txt' line 1 is" in run().failed["s1.png"]


class Stub:
    """A detector; ``answer`` is what it returns."""

    names = ("thing",)

    def __init__(self, answer: Any) -> None:
        self.answer, self.closed = answer, 0

    def __call__(self, image: np.ndarray) -> Any:
        return self.answer

    def close(self) -> None:
        self.closed += 1


def test_a_detector_that_returns_nothing(folder: Folder, fake: SAM) -> None:
    """It is no reason to segment the whole image."""
    summary = auto_annotate(folder.images, Stub(None), fake)
    assert len(summary.failed) == 4
    assert "the detector returned None" in summary.failed["s0.png"]
    nothing = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0))
    summary = auto_annotate(folder.images, Stub(nothing), fake)
    assert (summary.labelled, summary.objects) == (4, 0)


def test_boxes_that_give_no_object_are_counted(folder: Folder, fake: SAM) -> None:
    boxes = [[10, 10, 60, 60], [130, 5, 150, 9], [50, 50, 40, 60], [-0.4, 20, 120.4, 80]]
    found = Detections(np.array(boxes), np.ones(4), np.zeros(4))
    summary = auto_annotate(folder.images, Stub(found), fake)
    assert summary.objects == 8
    assert summary.notices == (
        "8 boxes gave no object, having no area in the image or an empty mask ('s0.png' and "
        "'s1.png', among others).",
    )
    assert auto_annotate(folder.images, Stub(found), fake).notices == summary.notices


@pytest.mark.parametrize("trouble", [None, "sam", "labels"])
def test_a_detector_that_was_opened_is_closed(
    folder: Folder, fake: SAM, monkeypatch: pytest.MonkeyPatch, trouble: str | None
) -> None:
    stub = Stub(Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0)))
    monkeypatch.setattr("samdeploy.yolo.detector.open_detector", lambda *a, **k: stub)
    if trouble == "labels":
        (folder.root / "labels").write_bytes(b"")
    arguments: dict[str, Any] = {"sam_model": "nowhere.pt" if trouble == "sam" else fake}
    if trouble:
        with pytest.raises(InputError):
            auto_annotate(folder.images, "some.onnx", **arguments)
    else:
        auto_annotate(folder.images, "some.onnx", **arguments)
    assert stub.closed == (trouble != "labels")  # refused before anything is opened
    auto_annotate(folder.images, stub, fake, output_dir=folder.root / "own")
    assert stub.closed == (trouble != "labels")  # one that came open stays open


def test_symbolic_links(run: Callable[..., Any], folder: Folder) -> None:
    """Of images, which are then in the split data set themselves, and of their folder."""
    elsewhere = folder.root / "disk" / "raw"
    elsewhere.parent.mkdir()
    folder.images.rename(elsewhere)
    folder.images.symlink_to(elsewhere)
    assert run().output_dir == folder.root / "labels"
    assert 'train: ["../images"]' in (folder.root / "labels" / "data.yaml").read_text()

    links = folder.root / "links"
    links.mkdir()
    for path in sorted(elsewhere.iterdir()):
        (links / path.name).symlink_to(Path("../disk/raw") / path.name)
    out = run(data=links, val=0.25, output_dir=folder.root / "set").output_dir
    for path in elsewhere.iterdir():
        (linked,) = out.glob(f"images/*/{path.name}")
        assert not linked.is_symlink()
        assert linked.read_bytes() == path.read_bytes()


def test_an_output_folder_that_is_a_symbolic_link(run: Callable[..., Any], folder: Folder) -> None:
    """``..`` leads out of what it points to, so names are absolute."""
    (folder.root / "a" / "b").mkdir(parents=True)
    (folder.root / "labels").symlink_to(folder.root / "a" / "b")
    run()
    text = (folder.root / "labels" / "data.yaml").read_text()
    assert f'train: ["{folder.images.as_posix()}"]' in text


def test_a_loop_of_folders(run: Callable[..., Any], folder: Folder) -> None:
    (folder.images / "again").symlink_to(folder.images)
    assert run(data=f"{folder.images}/**/*.png").images == 4


def test_names_of_images_in_several_folders(run: Callable[..., Any], folder: Folder) -> None:

    for name in ("s0", "s1"):
        (folder.images / name).mkdir()
        (folder.images / f"{name}.png").rename(folder.images / name / f"{name}.png")
    out = run(data=f"{folder.images}/**/*.png", format="coco").output_dir
    content = json.loads((out / "annotations.json").read_text())
    names = [image["file_name"] for image in content["images"]]
    assert names == ["s0/s0.png", "s1/s1.png", "s2.png", "s3.png"]


def test_ids_of_a_split_are_unique_and_those_of_the_source(
    run: Callable[..., Any], folder: Folder, tmp_path: Path
) -> None:

    images = [
        {"id": 70 + i, "file_name": f"s{i}.png", "width": 120, "height": 90} for i in (0, 1, 3)
    ]
    boxes = [{"image_id": 70 + i, "category_id": 5, "bbox": [9, 9, 60, 60]} for i in (0, 1, 3)]
    path = tmp_path / "boxes.json"
    path.write_text(
        json.dumps({"images": images, "annotations": boxes, "categories": [{"id": 5, "name": "x"}]})
    )
    out = run(boxes=path, format="coco", val=0.5).output_dir
    parts = [
        json.loads((out / "annotations" / f"instances_{split}.json").read_text())
        for split in ("train", "val")
    ]
    found = {image["file_name"]: image["id"] for part in parts for image in part["images"]}
    assert found == {"s0.png": 70, "s1.png": 71, "s2.png": 74, "s3.png": 73}
    ids = [annotation["id"] for part in parts for annotation in part["annotations"]]
    assert sorted(ids) == [1, 2, 3]


def test_a_damaged_part_is_named(run: Callable[..., Any], folder: Folder) -> None:
    out = run(format="coco").output_dir
    part = out / ".samdeploy" / "coco" / "s1.png.json"
    part.write_text("[")
    with pytest.raises(InputError, match=r"s1\.png\.json' cannot be read, .* delete it"):
        run(format="coco")
    part.unlink()
    assert run(format="coco").resumed == 3


def test_too_many_images_without_boxes(run: Callable[..., Any], folder: Folder) -> None:
    for index in (0, 1, 2):
        (folder.given / f"s{index}.txt").rename(folder.given / f"q{index}.txt")
    before = tree(folder.root)
    with pytest.raises(InputError, match=r"nothing about 3 of 4 images .* 3 label files \('q0"):
        run()
    assert tree(folder.root) == before
    summary = run(unmatched=0.75)
    assert summary.labelled == 4
    assert len(summary.notices) == 2
