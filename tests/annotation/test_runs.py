"""Runs: what they leave, how they go on, and what they refuse."""

from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samdeploy import SAM, InputError, auto_annotate
from samdeploy.annotation.journal import Journal, Record
from samdeploy.annotation.local_engine import run_local
from samdeploy.annotation.store import OutputError
from samdeploy.annotation.work import Work
from samdeploy.annotation.worker import Worker
from tests.annotation.conftest import Folder, box_of, labels, make_folder, tree

pytestmark = pytest.mark.exporting


class TestDefaults:
    def test_labels_beside_the_images(self, run: Callable[..., Any], folder: Folder) -> None:
        summary = run()
        assert summary.output_dir == folder.root / "labels"
        assert (summary.images, summary.labelled, summary.resumed) == (4, 4, 0)
        for name, masks in folder.masks.items():
            lines = (folder.root / "labels" / name).with_suffix(".txt").read_text().splitlines()
            assert [line.split()[0] for line in lines] == [str(i % 3) for i in range(len(masks))]

    def test_an_image_without_objects_has_an_empty_label(
        self, run: Callable[..., Any], folder: Folder
    ) -> None:
        (folder.given / "s1.txt").unlink()
        run()
        assert (folder.root / "labels" / "s1.txt").read_bytes() == b""

    def test_classes_wanted(self, run: Callable[..., Any], folder: Folder) -> None:
        run(classes=[2])
        lines = (folder.root / "labels" / "s0.txt").read_text().splitlines()
        assert [line[0] for line in lines] == ["2"] * len(lines) != []

    def test_names(self, run: Callable[..., Any], folder: Folder) -> None:
        (folder.root / "names.txt").write_text("cup\nplate\nspoon\nfork\n")
        run(names=folder.root / "names.txt", format="coco")
        content = json.loads((folder.root / "labels" / "annotations.json").read_text())
        assert [c["name"] for c in content["categories"]] == ["cup", "plate", "spoon", "fork"]


def test_boxes_from_coco(folder: Folder, fake: SAM, tmp_path: Path) -> None:
    """Category ids of the file come back; names too; crowds are no objects."""
    images, annotations = [], []
    for number, (name, masks) in enumerate(folder.masks.items(), 10):
        height, width = masks.shape[1:]
        images.append({"id": number, "file_name": f"x/{name}", "width": width, "height": height})
        for mask in masks:
            x1, y1, x2, y2 = box_of(mask)
            box = {"image_id": number, "bbox": [x1, y1, x2 - x1, y2 - y1]}
            annotations.append({**box, "category_id": 90, "iscrowd": 0})
            annotations.append({**box, "category_id": 3, "iscrowd": 1})
    categories = [{"id": 90, "name": "thing"}, {"id": 3, "name": "crowd"}]
    path = tmp_path / "boxes.json"
    path.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    out = tmp_path / "out"
    summary = auto_annotate(
        folder.images, boxes=path, sam_model=fake, format="coco", output_dir=out
    )
    content = json.loads((out / "annotations.json").read_text())
    assert summary.objects == len(content["annotations"]) == sum(map(len, folder.masks.values()))
    assert {a["category_id"] for a in content["annotations"]} == {90}
    assert [(c["id"], c["name"]) for c in content["categories"]] == [(3, "crowd"), (90, "thing")]

    Image.fromarray(np.zeros((5, 9, 3), np.uint8)).save(folder.images / "s0.png")
    other = auto_annotate(folder.images, boxes=path, sam_model=fake, output_dir=tmp_path / "b")
    assert "9 x 5, but its boxes are for 120 x 90" in other.failed["s0.png"]


class TestBrokenImages:
    def test_one_is_left_out_and_tried_again(self, run: Callable[..., Any], folder: Folder) -> None:
        whole = (folder.images / "s2.png").read_bytes()
        (folder.images / "s2.png").write_bytes(whole[:200])
        said: list[str] = []
        summary = run(log=said.append)
        assert (summary.images, summary.labelled, list(summary.failed)) == (4, 3, ["s2.png"])
        assert len(said) == 1
        assert said[0].startswith("s2.png was left out: image '")
        assert not (folder.root / "labels" / "s2.txt").exists()
        (folder.images / "s2.png").write_bytes(whole)
        again = run()
        assert (again.labelled, again.resumed, dict(again.failed)) == (4, 3, {})
        assert (folder.root / "labels" / "s2.txt").read_bytes()

    def test_a_bad_label_is_its_image_s_own(self, run: Callable[..., Any], folder: Folder) -> None:
        (folder.given / "s1.txt").write_text("0 1 2")
        assert "'s1.txt' line 1" in run().failed["s1.png"]


class TestResuming:
    def test_nothing_is_done_twice(
        self, run: Callable[..., Any], folder: Folder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = run()
        before = tree(first.output_dir)

        def refuse(self: Worker, path: Path) -> Any:
            raise AssertionError(f"{path} is read again")

        monkeypatch.setattr(Worker, "read", refuse)
        again = run()
        assert (again.resumed, again.objects) == (4, first.objects)
        assert tree(again.output_dir) == before

    def test_new_images_are_added(self, run: Callable[..., Any], folder: Folder) -> None:
        run()
        (folder.images / "new.png").write_bytes((folder.images / "s0.png").read_bytes())
        summary = run()
        assert (summary.images, summary.resumed) == (5, 4)
        assert (folder.root / "labels" / "new.txt").is_file()

    def test_a_lost_label_is_written_again(self, run: Callable[..., Any], folder: Folder) -> None:
        before = labels(run().output_dir)
        (folder.root / "labels" / "s3.txt").unlink()
        assert run().resumed == 3
        assert labels(folder.root / "labels") == before

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"min_area": 9}, "min_area was 0 and is 9"),
            ({"classes": [1]}, "classes was None and is [1]"),
            ({"boxes": None, "det_model": "none"}, "boxes from was 'boxes' and is 'whole image'"),
            ({"previews": True}, "previews was False and is True"),
        ],
    )
    def test_another_setting_does_all_again(
        self, run: Callable[..., Any], folder: Folder, changes: dict[str, Any], said: str
    ) -> None:
        """The labels are those of a run that had no other before it, and back."""
        before = labels(run().output_dir)
        again, fresh = run(**changes), run(**changes, output_dir=folder.root / "fresh")
        assert again.resumed == 0
        assert again.notices[0].startswith("4 images are done again: ")
        assert said in again.notices[0]
        assert labels(again.output_dir) == labels(fresh.output_dir)
        assert run(**changes).resumed == 4
        back = run()
        assert (back.resumed, len(back.notices)) == (0, 1)
        assert labels(back.output_dir) == before

    @pytest.mark.parametrize(
        ("changes", "match"),
        [
            ({"format": "png"}, r"another data set \(format was 'yolo' and is 'png'\)"),
            ({"val": 0.5}, "val was 0.0 and is 0.5"),
        ],
    )
    def test_another_data_set_is_refused(
        self, run: Callable[..., Any], changes: dict[str, Any], match: str
    ) -> None:
        before = tree(run().output_dir)
        with pytest.raises(InputError, match=match):
            run(**changes)
        assert tree(run().output_dir) == before

    def test_a_split_needs_the_same_images(self, run: Callable[..., Any], folder: Folder) -> None:
        run(val=0.3)
        (folder.images / "new.png").write_bytes((folder.images / "s0.png").read_bytes())
        with pytest.raises(InputError, match="images was '4 names, "):
            run(val=0.3)

    def test_two_runs_at_once(self, run: Callable[..., Any], folder: Folder) -> None:
        seen = []

        def progress(done: int, earlier: int, total: int) -> None:
            if done == 2:
                with pytest.raises(InputError, match="another run is writing"):
                    run()
                seen.append(total)

        run(progress=progress)
        assert seen == [4]

    @pytest.mark.parametrize(
        ("form", "moments"),
        [
            pytest.param("yolo", (3, 8), marks=[pytest.mark.slow, pytest.mark.overnight]),
            ("coco", (2, 8)),
            pytest.param("coco", (5, 10), marks=[pytest.mark.slow, pytest.mark.overnight]),
        ],
    )
    def test_killed_at_any_moment(
        self, tmp_path: Path, form: str, moments: tuple[int, ...]
    ) -> None:
        """SIGKILL again and again; then the files are those of a run that was left alone."""
        folder = make_folder(tmp_path, 12)
        arguments = [
            sys.executable, "-m", "samdeploy", "annotate", f"data={folder.images}",
            f"boxes={folder.given}", "sam_model=any", "runtime=fake", f"format={form}",
            "previews=True", "val=0.25",
        ]  # fmt: skip
        journal = tmp_path / "killed" / ".samdeploy" / "journal.jsonl"
        rng = random.Random(form)
        kills = 0
        for wanted in moments:
            process = subprocess.Popen(
                [*arguments, f"output_dir={tmp_path / 'killed'}"],
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            )  # fmt: skip
            deadline = time.monotonic() + 120
            while process.poll() is None and time.monotonic() < deadline:
                if journal.is_file() and journal.read_bytes().count(b"\n") > wanted:
                    break
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.03))
            process.kill()
            process.communicate()
            kills += process.returncode == -9
        assert kills >= len(moments) - 1  # the last may come too late
        for out in ("killed", "alone"):
            done = subprocess.run(
                [*arguments, "--json", f"output_dir={tmp_path / out}"],
                capture_output=True, text=True, check=False, timeout=200,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            assert (json.loads(done.stdout)["resumed"] > 0) == (out == "killed")
        assert tree(tmp_path / "killed") == tree(tmp_path / "alone")
        records = [json.loads(line) for line in journal.read_text().splitlines()[1:]]
        assert [r["image"] for r in records] == sorted(folder.masks)  # none twice, none lost


class TestJournal:
    def test_every_torn_end_is_cut_off(self, tmp_path: Path) -> None:
        with Journal(tmp_path, {"a": 1}) as journal:
            journal.append(Record("x.png", ("x.txt",), (0, 2)))
            journal.append(Record("y.png", error="broken"))
        whole = (tmp_path / "journal.jsonl").read_bytes()
        for length in range(len(whole)):
            (tmp_path / "journal.jsonl").write_bytes(whole[:length])
            with Journal(tmp_path, {"a": 1}) as journal:
                complete = max(0, whole[:length].count(b"\n") - 1)
                assert list(journal.records) == ["x.png", "y.png"][:complete]
                for record in (
                    Record("x.png", ("x.txt",), (0, 2)),
                    Record("y.png", error="broken"),
                ):
                    if record.image not in journal.records:
                        journal.append(record)
            assert (tmp_path / "journal.jsonl").read_bytes() == whole

    @pytest.mark.parametrize(
        "damage",
        [
            lambda line: b"#" + line,
            lambda line: line.replace(b"outputs", b"outpots"),
            lambda line: line.replace(b"x.txt", b"../x.txt"),
            lambda line: line.replace(b"x.txt", b"/etc/x.txt"),
            lambda line: line.replace(b"x.txt", b"x" * 2000),
            lambda line: line.replace(b'"x.png"', b'"a/x.png"'),
            lambda line: line.replace(b"[0,2]", b"[0,1000000000]"),
            lambda line: line.replace(b"[0,2]", b"[" * 100_000),
            lambda line: b"\xff" + line,
        ],
    )
    def test_a_damaged_record_goes_and_the_others_stay(
        self, tmp_path: Path, damage: Callable[[bytes], bytes]
    ) -> None:
        records = [Record(f"{name}.png", (f"{name}.txt",), (0, 2)) for name in "wxyz"]
        with Journal(tmp_path, {}) as journal:
            for record in records:
                journal.append(record)
        path = tmp_path / "journal.jsonl"
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join([*lines[:2], damage(lines[2]), *lines[3:]]))
        with Journal(tmp_path, {}) as journal:
            assert list(journal.records.values()) == [records[0], *records[2:]]
            assert journal.damaged == 1
        assert path.read_bytes() == b"".join([*lines[:2], *lines[3:]])
        with Journal(tmp_path, {}) as journal:
            assert journal.damaged == 0

    @pytest.mark.parametrize("first", [b"#\n", b"{}\n", b'{"settings":' + b"[" * 99_999 + b"\n"])
    def test_a_damaged_first_line_is_refused(self, tmp_path: Path, first: bytes) -> None:
        """Nobody knows what the folder holds then."""
        (tmp_path / "journal.jsonl").write_bytes(first)
        with pytest.raises(InputError, match="is damaged in its first line"):
            Journal(tmp_path, {})
        assert (tmp_path / "journal.jsonl").read_bytes() == first

    def test_a_full_disk_leaves_no_half_line(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Journal(tmp_path, {}) as journal:
            journal.append(Record("x.png"))
            before = (tmp_path / "journal.jsonl").read_bytes()

            def full(handle: int) -> None:
                raise OSError(errno.ENOSPC, "No space left on device")

            with monkeypatch.context() as patch:
                patch.setattr(os, "fsync", full)
                with pytest.raises(OutputError, match=r"cannot be written to \(No space left on"):
                    journal.append(Record("y.png"))
            assert list(journal.records) == ["x.png"]
        assert (tmp_path / "journal.jsonl").read_bytes() == before

    def test_the_last_record_of_an_image_counts(self, tmp_path: Path) -> None:
        with Journal(tmp_path, {}) as journal:
            journal.append(Record("x.png", error="broken"))
            journal.append(Record("x.png", ("x.txt",)))
        with Journal(tmp_path, {}) as journal:
            assert journal.records == {"x.png": Record("x.png", ("x.txt",))}


def test_few_images_are_in_memory_at_once(folder: Folder, fake: SAM, tmp_path: Path) -> None:
    """Reading waits for the model, and the model for the writer."""
    many = make_folder(tmp_path / "many", 24, (16, 16))
    alive = most = 0

    class Slow(Worker):
        def __init__(self) -> None:
            pass

        def read(self, path: Path) -> Any:
            nonlocal alive, most
            alive += 1
            most = max(most, alive)
            return path

        def annotate(self, image: Any) -> Any:
            return image

        def write(self, item: Any) -> Record:
            nonlocal alive
            time.sleep(0.002)
            alive -= 1
            return Record(item.name)

    records = list(run_local(Work(sorted(many.images.iterdir()), Slow)))
    assert [r.image for r in records] == sorted(many.masks)
    assert most <= 9


def test_memory_does_not_hold_the_images(tmp_path: Path, fake: SAM) -> None:
    """40 images, of which at most a few are held at once."""
    folder = make_folder(tmp_path, 1, (600, 800))
    for index in range(1, 40):
        for place, suffix in ((folder.images, "png"), (folder.given, "txt")):
            os.link(place / f"s0.{suffix}", place / f"s{index}.{suffix}")
    sizes = []

    def progress(done: int, earlier: int, total: int) -> None:
        sizes.append(tracemalloc.get_traced_memory()[0])

    tracemalloc.start()  # NumPy's arrays are counted, what a system library keeps is not
    try:
        auto_annotate(folder.images, boxes=folder.given, sam_model=fake, progress=progress)
    finally:
        tracemalloc.stop()
    assert len(sizes) == 41
    one_image = 600 * 800 * 3
    assert max(sizes) - sizes[10] < 5 * one_image


class TestRefused:
    """One sentence, and nothing is left behind."""

    @pytest.mark.parametrize(
        ("changes", "match"),
        [
            ({"data": "nowhere"}, "'nowhere' does not exist"),
            ({"format": "yollo"}, "format=yollo is not a label format; did you mean 'yolo'"),
            ({"format": "xml"}, "expected one of yolo, coco, labelme, png"),
            ({"engine": "locl"}, "did you mean 'local'"),
            ({"format": "coco", "segmentation": "mask"}, "expected rle or polygon"),
            ({"segmentation": "polygon"}, "segmentation=polygon; format=yolo has no use for it"),
            ({"boxes": "nowhere.json"}, "boxes=nowhere.json does not exist"),
            ({"names": "nowhere.txt"}, "text file 'nowhere.txt' does not exist"),
            ({"conf": 2}, "conf=2; expected a number from 0 to 1"),
            ({"val": 1}, "val=1; expected a number from 0 to 0.99"),
            ({"min_area": 1.5}, "min_area=1.5; expected a whole number"),
            ({"simplify": -1}, "simplify=-1; expected a number from 0 up"),
            ({"simplify": float("nan")}, "simplify=nan"),
            ({"classes": []}, r"classes=\[\]; expected class ids"),
            ({"classes": ["cup"]}, "expected class ids"),
            ({"conf": 0.5}, "conf set the detector, which boxes= replaces"),
            ({"boxes": None, "det_model": "none", "iou": 0.3}, "det_model=none turns off"),
            (
                {"boxes": None, "det_model": "none", "zoom": True},
                "zoom=True enlarges what is around",
            ),
            ({"boxes": None, "det_model": "none", "unmatched": 1}, "unmatched=1 is about boxes="),
            ({"boxes": None, "det_model": "none", "classes": [3]}, r"classes=\[3\] chooses among"),
            (
                {"boxes": None, "det_model": lambda image: None, "conf": 0.5, "max_det": 9},
                "conf, max_det set how a model is opened, and det_model is an open function",
            ),
            (
                {"runtime": "fake", "threads": 2, "device": "cpu"},
                "runtime, threads, device set how a model is opened, and sam_model is an open SAM",
            ),
            ({"format": "png", "simplify": 2}, "simplify=2 moves outlines, and format=png holds"),
            ({"format": "coco", "simplify": 2}, "format=coco holds pixels here; drop it, or take"),
            ({"unmatched": 1.5}, "unmatched=1.5; expected a number from 0 to 1"),
            ({"points_stride": 4}, "points_stride set whole-image mode"),
            ({"point_stride": 4}, "unknown option 'point_stride'; did you mean 'points_stride'"),
            ({"preview": True}, "did you mean 'previews'"),
            ({"previews": "yes"}, "previews='yes'; expected True or False"),
            ({"bit_depth": 1}, "bit_depth=1; expected a whole number from 2 to 32"),
        ],
    )
    def test_arguments(
        self, run: Callable[..., Any], folder: Folder, changes: dict[str, Any], match: str
    ) -> None:
        before = tree(folder.root)
        with pytest.raises(InputError, match=match):
            run(**changes)
        assert tree(folder.root) == before
        assert not (folder.root / "labels").exists()

    def test_an_empty_folder(self, run: Callable[..., Any], tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(InputError, match="holds no images"):
            run(data=tmp_path / "empty")

    def test_images_that_share_a_label(self, run: Callable[..., Any], folder: Folder) -> None:
        (folder.images / "s0.jpg").write_bytes((folder.images / "s0.png").read_bytes())
        with pytest.raises(InputError, match="would share a label file"):
            run()

    def test_labels_of_other_images(self, run: Callable[..., Any], folder: Folder) -> None:
        for path in folder.given.iterdir():
            path.rename(folder.given / f"other_{path.name}")
        with pytest.raises(InputError, match="says nothing about 4 of 4 images"):
            run()

    @pytest.mark.parametrize("content", ["", "{}", '{"images": 1}', "not JSON"])
    def test_a_file_that_is_no_coco(
        self, run: Callable[..., Any], tmp_path: Path, content: str
    ) -> None:
        (tmp_path / "boxes.json").write_text(content)
        with pytest.raises(InputError, match="cannot be read as COCO"):
            run(boxes=tmp_path / "boxes.json")

    @pytest.mark.parametrize("content", ["", "cup\n\nplate\n", "cup\ncup\n"])
    def test_names_that_do_not_name(
        self, run: Callable[..., Any], tmp_path: Path, content: str
    ) -> None:
        (tmp_path / "names.txt").write_text(content)
        with pytest.raises(InputError, match=r"names=.*(empty line|twice)"):
            run(names=tmp_path / "names.txt")

    def test_labels_that_are_somebody_s(self, run: Callable[..., Any], folder: Folder) -> None:
        """The default folder may hold labels made by hand."""
        (folder.root / "labels").mkdir()
        (folder.root / "labels" / "s0.txt").write_text("0 0.5 0.5 0.1 0.1")
        before = tree(folder.root)
        with pytest.raises(InputError, match=r"holds 's0\.txt', which is not of an earlier run"):
            run()
        with pytest.raises(InputError, match="not of an earlier run"):
            run(output_dir=folder.images)
        assert tree(folder.root) == before

    @pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
    def test_read_only(self, run: Callable[..., Any], folder: Folder) -> None:
        folder.root.chmod(0o500)
        try:
            with pytest.raises(InputError, match="cannot be written to"):
                run()
        finally:
            folder.root.chmod(0o700)

    def test_an_output_that_cannot_be(self, run: Callable[..., Any], folder: Folder) -> None:
        with pytest.raises(InputError, match="cannot be written to"):
            run(output_dir=folder.images / "s0.png" / "labels")
        with pytest.raises(InputError, match="is a file"):
            run(output_dir=folder.images / "s0.png")
