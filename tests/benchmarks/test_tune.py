"""``samdeploy tune`` ends in time, its choice is the fastest that passed, and SAM follows it."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

import samdeploy
from samdeploy import SAM, BundleError, InputError, SamDeployError
from samdeploy.benchmarks.jobs import Job, Outcome
from samdeploy.benchmarks.plots import scatter_chart
from samdeploy.benchmarks.tune import _Search
from samdeploy.bundle import read_manifest
from samdeploy.cli.app import main
from samdeploy.graphs import ENCODER
from samdeploy.opening import open_model
from samdeploy.scenes import Scene
from samdeploy.session import RuntimeOptions
from samdeploy.tuning import TUNING, Row, Tuning, machine, read_tuning
from tests.cli.conftest import Cli, cli, done  # noqa: F401
from tests.rounding import bf16_runtime

pytestmark = pytest.mark.exporting

CHOSEN = Row("onnx", "fp32", 1, 4, "passed", seconds=0.5)


def write(folder: Path, **changes: Any) -> Tuning:
    tuning = Tuning(machine(), "cpu", "click", CHOSEN, (CHOSEN,), 60, 12)
    tuning = msgspec.structs.replace(tuning, **changes)
    (folder / TUNING).write_bytes(msgspec.json.encode(tuning))
    return tuning


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


@pytest.mark.slow
@pytest.mark.overnight
def test_in_time_and_the_fastest_that_passed(done: Cli, scene: Scene) -> None:  # noqa: F811
    Image.fromarray(scene.image).save("scene.png")
    started = time.monotonic()
    found = done(
        "tune", "model=sam_tiny.pt", "formats=onnx", "precisions=fp32,fp16", "budget=300",
        "image=scene.png", "output=tuned", "json=True",
    ).json  # fmt: skip
    assert time.monotonic() - started < 300
    tuning = msgspec.convert(found["tuning"], Tuning)
    passed = [row for row in tuning.rows if row.status == "passed"]
    assert {row.made for row in passed} == {"fp32", "fp16"}
    assert len(passed) >= 5
    assert tuning.chosen == min(passed, key=lambda row: row.seconds or 0)
    assert read_tuning(Path("tuned")) == tuning
    assert "<svg" in Path("tuned/tune.html").read_text()
    with SAM("tuned") as sam:
        info = sam.info(verbose=False)
        assert info["tuned"].startswith(f"{tuning.chosen.threads} threads")
        assert len(sam.predict("scene.png", points=[50, 50])) == 1


@pytest.fixture
def here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny_bundle: Path
) -> None:
    """Commands run in this process, an export is a copy of one that was made before, and speed is
    told instead of measured: bf16 anywhere is fastest."""

    def run(deadline: float, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        words = list(command[3:])
        if words[0] == "export":
            output = next(word for word in words if word.startswith("output="))
            shutil.copytree(tiny_bundle, output.removeprefix("output="))
            return subprocess.CompletedProcess(command, 0, "", "")
        with pytest.raises(SystemExit) as end:
            main(words)
        return subprocess.CompletedProcess(command, int(str(end.value.code)), *capsys.readouterr())

    def measure(job: Job, folder: Path, deadline: float) -> Outcome:
        seconds = {"fp32": 3.0, "bf16-encoder": 2.0, "bf16": 1.0}[job.precision or ""]
        seconds += job.threads != os.cpu_count()
        return Outcome(f"CPU {job.precision}", 1, {"image_to_mask": [seconds]}, {})

    monkeypatch.setattr("samdeploy.benchmarks.tune.run_until", run)
    monkeypatch.setattr("samdeploy.benchmarks.tune.measure_in_process", measure)


def tune_click(folder: Path, **options: Any) -> Tuning:
    return samdeploy.tune(
        "sam_tiny.pt", formats=["onnx"], precisions=["fp32"], goal="click", output=folder, **options
    ).tuning


@pytest.mark.usefixtures("here")
@pytest.mark.slow
@pytest.mark.overnight
def test_every_arithmetic_of_the_device_has_a_row_and_a_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noticed: Callable[[], list[str]]
) -> None:
    runtime = bf16_runtime(monkeypatch, "onnxruntime")
    # Between what the two lose.
    tuning = tune_click(tmp_path / "tuned", tolerance=0.9988)
    verdicts = [(row.arithmetic, row.status) for row in tuning.rows[:3]]
    assert verdicts == [("fp32", "passed"), ("bf16", "missed"), ("bf16-encoder", "passed")]
    assert tuning.rows[1].seconds is None
    assert "expected 0.9988 or more" in tuning.rows[1].note
    # All of bf16 would be faster.
    assert tuning.chosen.arithmetic == "bf16-encoder"
    assert "bf16-encoder" in (tmp_path / "tuned/tune.html").read_text()
    manifest = read_manifest(tmp_path / "tuned")
    assert list(manifest.verifications) == ["fp32", "bf16", "bf16-encoder"]
    for row in tuning.rows:
        record = manifest.verifications[row.arithmetic]
        assert (row.status == "passed") == record.passed
        assert row.mask_iou_mean == record.mask_iou_mean
        assert row.ran_on == (f"CPU {row.arithmetic}" if record.passed else "")
    # SAM follows it here, without a word, and not elsewhere.
    runtime.asked.clear()
    with SAM(tmp_path / "tuned") as sam:
        facts = sam.info(verbose=False)
    assert facts["arithmetic"] == tuning.chosen.arithmetic
    assert facts["tuned"].endswith(tuning.chosen.arithmetic)
    assert facts["mask_iou_against_torch"] == tuning.chosen.mask_iou_mean
    assert dict(runtime.asked)[ENCODER] == "bf16"
    assert not noticed()
    with SAM(tmp_path / "tuned", options=RuntimeOptions(precision="fp32")) as sam:
        assert sam.info(verbose=False)["arithmetic"] == "fp32"
    monkeypatch.setattr("samdeploy.tuning.machine", lambda: "another")
    with SAM(tmp_path / "tuned") as sam:
        assert sam.info(verbose=False)["arithmetic"] == "fp32"


@pytest.mark.usefixtures("here")
def test_a_device_without_bf16_is_not_asked_for_it(tmp_path: Path) -> None:
    tuning = tune_click(tmp_path / "tuned")
    assert {row.arithmetic for row in tuning.rows} == {"fp32", "kernels"}


def test_a_device_without_f32_is_asked_for_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    replace = msgspec.structs.replace
    search = _Search(None, "m", "npu", "click", None, "", math.inf, print)  # type: ignore[arg-type]
    monkeypatch.setattr(search, "_lower", lambda format: ["fp16"])
    monkeypatch.setattr(search, "_verified", lambda row: replace(row, status="passed"))
    monkeypatch.setattr(search, "_measured", lambda row: replace(row, seconds=1.0))
    search.rows = [
        Row("coreml", "fp32", 0, 4, "failed", "not exported"),
        Row(
            "onnx",
            "fp32",
            0,
            4,
            "failed",
            "device 'npu' computes in fp16",
            bytes=1,
            mask_iou_mean=1.0,
        ),
    ]
    search.refine()
    assert [(row.format, row.arithmetic) for row in search.rows[2:]] == [("onnx", "fp16")]
    assert search.rows[2].mask_iou_mean is None
    assert search.fastest() == search.rows[2]


def test_nothing_in_time_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(SamDeployError, match=r"nothing passed within budget=0\.01 seconds"):
        samdeploy.tune("sam_tiny.pt", formats=["onnx"], budget=0.01, output=tmp_path / "tuned")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"goal": "fame"}, "goal=fame; expected one of whole_image, click"),
        (
            {"precisions": ["int4"]},
            "precisions=int4; expected one of int8_weights, integers, int8, palette4",
        ),
        ({"budget": 0}, "budget=0; expected seconds above 0"),
        ({"data": "nowhere"}, "nowhere"),
        ({"target": "toaster"}, "device 'toaster'; expected"),
        ({"formats": ["onxn"]}, "did you mean 'onnx'"),
        ({"formats": ["onnx"], "target": "mps"}, "no format can be exported and run on it here"),
    ],
)
def test_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        samdeploy.tune("sam_tiny.pt", output=tmp_path / "tuned", **options)
    assert not list(tmp_path.iterdir())


def test_sam_follows_it(bundle: Path) -> None:
    write(bundle)
    opened = open_model(bundle)
    assert opened.whole_image["points_batch_size"] == 4
    assert opened.tuning is not None
    assert opened.tuning.chosen.threads == 1
    opened.close()


def test_what_is_told_wins(bundle: Path) -> None:
    write(bundle, device="cuda")
    opened = open_model(bundle, device="cpu", options=RuntimeOptions(threads=2))
    assert opened.tuning is None
    assert "points_batch_size" not in opened.whole_image
    opened.close()


def test_another_machine_ignores_it(bundle: Path) -> None:
    write(bundle, machine="Some CPU, 64 cores", device="cuda")
    assert read_tuning(bundle) is None
    with SAM(bundle) as sam:
        assert sam.info(verbose=False)["tuned"] == "no"
        assert sam.predict(np.zeros((40, 60, 3), np.uint8), points=[5, 5]).data.shape == (1, 40, 60)


@pytest.mark.parametrize(
    "change",
    [
        {"chosen": msgspec.structs.replace(CHOSEN, threads=10**6)},
        {"chosen": msgspec.structs.replace(CHOSEN, threads=-1)},
        {"chosen": msgspec.structs.replace(CHOSEN, points_batch_size=10**6)},
        {"chosen": msgspec.structs.replace(CHOSEN, points_batch_size=0)},
        {"chosen": msgspec.structs.replace(CHOSEN, status="perhaps")},
        {"rows": (CHOSEN,) * 2000},
        {"schema_version": 2},
        {"budget": -1},
    ],
)
def test_out_of_its_limits(bundle: Path, change: dict[str, Any]) -> None:
    write(bundle, **change)
    with pytest.raises(BundleError, match="remove it or tune again"):
        open_model(bundle)


@pytest.mark.parametrize("content", ["{", "[" * 100_000, " " * (2 << 20), None])
def test_a_broken_one_is_an_error(bundle: Path, content: str | None) -> None:
    if content is None:
        (bundle / TUNING).symlink_to("/dev/zero")
    else:
        (bundle / TUNING).write_text(content)
    with pytest.raises(BundleError, match="remove it or tune again"):
        read_tuning(bundle)


def test_chart_places_points() -> None:
    chart = scatter_chart("speed", [("slow & right", 20, 1.0), ("fast", 5, 0.98)])
    assert chart.count("<rect") == 2
    assert "slow &amp; right" in chart
    assert "0.9800" in chart
    assert scatter_chart("none", []).endswith("</svg>")
