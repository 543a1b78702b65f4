"""``engine=ray``: workers in other processes, of which one is killed, and what they share."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samdeploy import SAM, InputError, RuntimeUnavailableError, auto_annotate
from samdeploy.annotation.boxes import open_labels
from samdeploy.annotation.cluster import Cluster
from samdeploy.annotation.dataset import Dataset
from samdeploy.annotation.ray_engine import _Actor, _images_at_a_time, _reason
from samdeploy.annotation.request import Request
from samdeploy.annotation.steps import Steps
from samdeploy.annotation.store import Store
from samdeploy.annotation.worker import Worker
from tests.annotation.conftest import Folder, make_folder, tree

#: Runs with two workers and kills one of them, by SIGKILL, when the first image is done.
KILLING = """
import json, os, signal, sys
from pathlib import Path

import ray
import ray.data
import samdeploy

def pool():
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title = (folder / "cmdline").read_bytes()
            parent = folder.joinpath("stat").read_text().rpartition(")")[2].split()[1]
            origin = Path("/proc", parent, "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:  # it ended meanwhile
            continue
        if title.startswith(b"ray::MapWorker") and int(origin) == os.getpid():
            found.append(int(folder.name))
    return found

killed = []

def progress(done, earlier, total):
    if done and not killed:
        before = pool()
        os.kill(before[0], signal.SIGKILL)
        killed.append({"pid": before[0], "workers": len(before), "left": total - done})

# Both are up before the first image is given out.
ray.data.DataContext.get_current().wait_for_min_actors_s = 300
ray.init(num_cpus=2, object_store_memory=100 << 20, include_dashboard=False, log_to_driver=False)
summary = samdeploy.auto_annotate(**json.loads(sys.argv[1]), progress=progress)
print(json.dumps({"failed": list(summary.failed), "killed": killed}))
"""


@pytest.mark.slow
@pytest.mark.overnight
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="workers are found in /proc")
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is an extra")
def test_two_workers_and_one_killed(tmp_path: Path, small_bundle: Path) -> None:
    """The output is that of a local run, which also goes on from there."""
    folder = make_folder(tmp_path, 24)
    (folder.images / "s7.png").write_bytes(b"corrupt")
    arguments: dict[str, Any] = {
        "data": str(folder.images),
        "boxes": str(folder.given),
        "sam_model": str(small_bundle),
        "format": "coco",
        "previews": True,
        "val": 0.25,
        "threads": 1,
    }
    on_ray = {**arguments, "engine": "ray", "workers": 2, "output_dir": str(tmp_path / "ray")}
    done = subprocess.run(
        [sys.executable, "-c", KILLING, json.dumps(on_ray)],
        capture_output=True, text=True, check=False, timeout=550,
        # Ray's workers would step back behind everything else on the machine.
        env={**os.environ, "RAY_worker_niceness": "0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # Ray forwards what its processes say to standard output as well, whenever it arrives.
    (said,) = (line for line in done.stdout.splitlines() if line.startswith('{"failed"'))
    told = json.loads(said)
    assert told["failed"] == ["s7.png"]
    (killed,) = told["killed"]
    assert killed["workers"] == 2
    assert killed["left"] > 0

    alone = auto_annotate(**arguments, output_dir=tmp_path / "local")
    assert list(alone.failed) == ["s7.png"]
    ours, theirs = tree(tmp_path / "local"), tree(tmp_path / "ray")
    journal = ".samdeploy/journal.jsonl"  # in the order in which images were finished
    lines = [sorted(files.pop(journal).splitlines()) for files in (ours, theirs)]
    assert lines[0] == lines[1]
    assert ours == theirs

    again = auto_annotate(**arguments, output_dir=tmp_path / "ray")
    assert (again.resumed, again.labelled) == (23, 23)


def make_worker(folder: Folder, fake: SAM, root: Path) -> Worker:
    store = Store(root)
    store.create()
    return Worker(
        fake,
        open_labels(folder.given, sorted(folder.images.iterdir())),
        Dataset(store, {}),
        Steps(),
    )


def test_a_batch_is_a_record_per_image(folder: Folder, fake: SAM, tmp_path: Path) -> None:
    (folder.images / "s1.png").write_bytes(b"corrupt")
    paths = np.array([str(folder.images / f"s{i}.png") for i in range(3)], object)
    found = _Actor(lambda: make_worker(folder, fake, tmp_path / "out"))({"path": paths})
    records = [json.loads(line) for line in found["record"]]
    assert [record["image"] for record in records] == ["s0.png", "s1.png", "s2.png"]
    assert [bool(record.get("error")) for record in records] == [False, True, False]
    assert found["stop"].tolist() == ["", "", ""]
    assert (tmp_path / "out" / "s2.txt").is_file()


def test_an_output_that_cannot_be_written_ends_the_run(
    folder: Folder, fake: SAM, tmp_path: Path
) -> None:
    worker = make_worker(folder, fake, tmp_path / "out")
    (tmp_path / "out" / "s1.txt").mkdir()
    paths = np.array([str(folder.images / f"s{i}.png") for i in range(3)], object)
    found = _Actor(lambda: worker)({"path": paths})
    assert json.loads(found["record"][0])["image"] == "s0.png"
    assert found["record"][-1] == b""
    assert "cannot be written to" in found["stop"][-1]


def test_why_ray_stopped() -> None:
    inner = InputError("what the worker said")
    outer = RuntimeError("traces")
    outer.cause = inner  # type: ignore[attr-defined]  # as Ray carries it
    assert _reason(outer) is inner
    told = _reason(RuntimeError("long\ntrace\nThe actor died."))
    assert str(told) == (
        "Ray gave up (The actor died.); images that were finished are kept, and the same command "
        "goes on from there."
    )


@pytest.mark.parametrize(
    ("images", "workers", "expected"),
    [(1, (2, 2), 1), (24, (2, 2), 3), (100, (1, None), 2), (10**6, (1, 16), 32)],
)
def test_images_at_a_time(images: int, workers: tuple[int, int | None], expected: int) -> None:
    assert _images_at_a_time(images, Cluster(workers)) == expected


class TestRefused:
    @pytest.mark.parametrize(
        ("changes", "match"),
        [
            ({"engine": "local", "workers": 2}, "workers set the workers of engine=ray"),
            ({"engine": "local", "worker_gpus": 1}, "worker_gpus set the workers of engine=ray"),
            ({"workers": 0}, "workers=0; expected their number, such as 4, or fewest and most"),
            ({"workers": [4, 2]}, r"workers=\[4, 2\]; expected"),
            ({"workers": 1.5}, "workers=1.5; expected"),
            ({"worker_cpus": -1}, "worker_cpus=-1; expected a number from 0 up"),
            ({}, "sam_model is an open SAM, but every worker opens its own"),
        ],
    )
    def test_arguments(
        self, folder: Folder, fake: SAM, changes: dict[str, Any], match: str
    ) -> None:
        arguments = {"boxes": folder.given, "sam_model": fake, "engine": "ray", **changes}
        with pytest.raises(InputError, match=match):
            auto_annotate(folder.images, **arguments)
        assert not (folder.root / "labels").exists()

    def test_without_ray(self, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "ray", None)
        with pytest.raises(RuntimeUnavailableError, match=r"run: pip install 'samdeploy\[ray\]'"):
            auto_annotate(
                folder.images, boxes=folder.given, sam_model="any", runtime="fake", engine="ray"
            )
        assert not (folder.root / "labels").exists()


def test_what_workers_get() -> None:
    def asked(**arguments: Any) -> Cluster:
        return Request(data="images", engine="ray", **arguments).cluster

    assert asked() == Cluster((1, None), 1.0, 0.0)
    assert asked(workers=3, worker_cpus=2, worker_gpus=0.5) == Cluster((3, 3), 2.0, 0.5)
    assert asked(workers=[1, 16]) == Cluster((1, 16))
