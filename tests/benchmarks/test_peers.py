"""Peers: which run, which say why not, and what a run beside one looks like.

A peer of the test's own stands in for the libraries, which are no dependency; it runs in a real
process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from samdeploy.benchmarks import peers as spoke
from samdeploy.benchmarks import processes
from samdeploy.benchmarks.jobs import Job
from samdeploy.benchmarks.peer_registry import PEERS
from samdeploy.benchmarks.processes import TUNED_MALLOC, MeasurementError, measure_in_process
from samdeploy.benchmarks.workbench import Settings, workbench

pytestmark = pytest.mark.exporting


def test_every_peer_says_what_it_needs() -> None:
    for peer in PEERS.values():
        assert peer.title
        for architecture in peer.architectures:
            assert len(peer.needs(architecture)) >= 2
    assert "mobilesam-mirror" in PEERS["meta"].needs("mobile_sam")


def test_one_that_is_not_installed_is_listed(
    picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spoke, "installed", lambda name: "")
    with workbench(Settings(image=picture)) as bench:
        (task,) = spoke.tasks_of_peer(bench, "meta", picture, "sam_b", ["default"], print)
    assert task.job is None
    assert task.case.status == "absent"
    assert task.case.note.endswith("pip install segment-anything torch")


def test_an_architecture_that_it_does_not_run(picture: Path) -> None:
    with workbench(Settings(image=picture)) as bench:
        (task,) = spoke.tasks_of_peer(
            bench, "transformers", picture, "mobile_sam", ["default"], print
        )
    assert task.case.status == "absent"
    assert "does not run mobile_sam" in task.case.note


def test_a_process_that_fails_gives_its_last_line(tmp_path: Path) -> None:
    job = Job("meta", "nowhere.pt", str(tmp_path / "no.npy"), str(tmp_path / "logits.npy"))
    with pytest.raises(MeasurementError, match=r"no\.npy"):
        measure_in_process(job, tmp_path)


def test_the_allocator_is_chosen_in_the_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str | None] = []

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        environment = options["env"]
        assert isinstance(environment, dict)
        seen.append(environment.get("GLIBC_TUNABLES"))
        Path(command[-1]).write_bytes(msgspec.json.encode("made"))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.setattr(processes.subprocess, "run", run)
    for malloc in ("default", "tuned"):
        processes._run("prepare", Job("meta", "", "", ""), tmp_path, malloc, str)
    assert seen == [None, TUNED_MALLOC]
    assert "GLIBC_TUNABLES" not in os.environ


STAND_INS = """
import sys
from samdeploy.benchmarks.stand_in import install_stand_ins
install_stand_ins()
import torch
import torchvision
from torchvision.ops.boxes import batched_nms, box_area
from torchvision.transforms.functional import resize, to_pil_image
from timm.models.layers import DropPath, to_2tuple
boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30]])
scores = torch.tensor([0.5, 0.9, 0.1])
assert torchvision.ops.nms(boxes, scores, 0.5).tolist() == [1, 2]
assert batched_nms(boxes, scores, torch.zeros(3), iou_threshold=0.5).tolist() == [1, 2]
assert box_area(boxes).tolist() == [100, 81, 100]
assert resize(to_pil_image(torch.zeros(4, 6, 3).byte().numpy()), (2, 3)).size == (3, 2)
assert DropPath(0.1)(boxes) is boxes and to_2tuple(3) == (3, 3)
try:
    torchvision.ops.roi_align(boxes)
except NotImplementedError as error:
    assert "torchvision.ops.roi_align" in str(error)
else:
    raise AssertionError
print("done")
"""


@pytest.mark.slow
def test_stand_ins_of_torchvision_and_timm() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STAND_INS], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"
