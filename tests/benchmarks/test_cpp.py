"""Rows of the C++ runtime, with a program that stands in for ``samdeploy-cli``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from samdeploy.benchmarking import benchmark
from samdeploy.benchmarks.cpp import find_program, in_cpp
from samdeploy.benchmarks.measure import spread_points
from samdeploy.benchmarks.program import measure_program
from samdeploy.benchmarks.records import Case, Report
from samdeploy.benchmarks.workbench import Settings, Task, workbench
from samdeploy.errors import InputError, RuntimeUnavailableError

pytestmark = pytest.mark.exporting

#: The real program, where somebody has built it.
BUILT = os.environ.get("SAMDEPLOY_CLI", "")

#: Keeps what it was asked in the file ``asked.json`` beside it, and refuses the device ``npu``.
STAND_IN = """#!{python}
import json, pathlib, sys
import numpy as np
asked = dict(word.split("=", 1) for word in sys.argv[1:])
with pathlib.Path(__file__).with_name("asked.json").open("a") as file:
    print(json.dumps(asked), file=file)
if asked["device"] == "npu":
    sys.exit("loading\\nerror: device 'npu' is not one that OpenVINO finds here; usable: CPU.")
if "logits" in asked:
    prompts = len(json.loads(asked["points"]))
    np.save(asked["logits"], np.zeros((3 * prompts, 64, 64), np.float32))
elif "points" in asked:
    steps = ("load", "encode", "click", "image_to_mask", "decode_1", "decode_16", "decode_64")
    seconds = {{step: [0.25, 0.5] for step in steps}}
    print(json.dumps({{"provider": "C++", "seconds": seconds, "peaks": {{"prompts": 2000000}}}}))
else:
    seconds = {{"load": [0.5], "whole_image": [2.0]}}
    peaks = {{"whole_image": 3000000}}
    print(json.dumps({{"provider": "C++", "masks": 7, "seconds": seconds, "peaks": peaks}}))
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "samdeploy-cli"
    path.write_text(STAND_IN.format(python=sys.executable))
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def unnamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """None is named, and none is on the path."""
    monkeypatch.delenv("SAMDEPLOY_CLI", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")


def asked_of(program: Path) -> list[dict[str, str]]:
    lines = program.with_name("asked.json").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_a_row_of_a_run(program: Path, picture: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    found = benchmark(
        tiny_bundle, runtime=("cpp",), cli=program, image=picture, output=tmp_path / "results",
        rounds=2, warmup=0, whole_image_rounds=1, points_stride=5, threads=1,
    )  # fmt: skip
    report: Report = found.report
    (case,) = report.cases
    assert (case.name, case.runtime, case.provider) == ("onnx in C++", "cpp", "C++")
    assert case.timings["decode_64"].samples == (0.25, 0.5)
    assert case.timings["whole_image"].median == 2
    assert case.peaks == {"prompts": 2_000_000, "whole_image": 3_000_000}
    assert (case.masks, case.mask_iou_mean) == (7, None)
    assert case.artifact_bytes is not None
    assert case.artifact_bytes > 1e6
    prompts, logits, everything = asked_of(program)
    common = {"model": str(tiny_bundle), "backend": "onnxruntime", "device": "cpu", "threads": "1"}
    assert common.items() <= prompts.items()
    assert (prompts["repeat"], prompts["warmup"]) == ("2", "0")
    assert (logits["multimask"], len(json.loads(logits["points"]))) == ("true", 16)
    assert (everything["points_stride"], everything["repeat"]) == ("5", "1")
    assert "points" not in everything


def test_both_languages_and_what_cpp_cannot(program: Path, picture: Path) -> None:
    with workbench(Settings(image=picture)) as bench:
        absent = Task(Case("onnx", "cuda", "absent", "onnxruntime offers cpu here"))
        (same,) = [in_cpp(bench, absent, program)]
        assert (same.job, same.case.note) == (None, absent.case.note)
        bundle = Task(Case("onnx", "cpu", "ok"), bench.job("samdeploy", picture.parent))
        missing = in_cpp(bench, bundle, RuntimeUnavailableError("no program"))
        assert (missing.job, missing.case.status) == (None, "absent")
        assert missing.case.note == "no program"
        ours = in_cpp(bench, bundle, program)
        assert ours.job is not None
        assert bundle.job is not None
        assert ours.job.logits != bundle.job.logits


def test_random_weights_have_no_whole_image(
    program: Path, picture: Path, tiny_bundle: Path
) -> None:
    with workbench(Settings(image=picture, weights="random")) as bench:
        task = Task(Case("onnx", "cpu", "ok"), bench.job("samdeploy", tiny_bundle))
        ours = in_cpp(bench, task, program)
    assert ours.job is not None
    assert "no whole image" in ours.case.note
    np.save(program.with_name("image.npy"), np.zeros((8, 9, 3), np.uint8))
    image = str(program.with_name("image.npy"))
    job = msgspec.structs.replace(ours.job, image=image, whole_image={"points_stride": 4})
    assert measure_program(job).seconds == {}


def test_what_the_program_refuses_is_told(program: Path, picture: Path, tiny_bundle: Path) -> None:
    with workbench(Settings(image=picture)) as bench:
        job = bench.job("cpp", tiny_bundle, program=str(program), device="npu")
        with pytest.raises(
            RuntimeUnavailableError, match=r"^samdeploy-cli: device 'npu' is not one"
        ):
            measure_program(job)


def test_where_the_program_is(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeUnavailableError, match=r"^there is no samdeploy-cli here; build"):
        find_program(None)
    with pytest.raises(InputError, match=r"^cli=nowhere; expected the path"):
        find_program("nowhere")
    assert find_program(program) == program
    monkeypatch.setenv("SAMDEPLOY_CLI", str(program))
    assert find_program(None) == program
    monkeypatch.delenv("SAMDEPLOY_CLI")
    monkeypatch.setenv("PATH", str(program.parent))
    assert find_program(None) == program


def test_other_languages_are_refused(tiny_bundle: Path) -> None:
    with pytest.raises(InputError, match=r"^runtime=rust; expected one or both of python, cpp"):
        benchmark(tiny_bundle, runtime=("rust",))
    with pytest.raises(RuntimeUnavailableError, match="there is no samdeploy-cli"):
        benchmark(tiny_bundle, runtime=("cpp",))


@pytest.mark.slow
@pytest.mark.overnight
@pytest.mark.skipif(not BUILT, reason="SAMDEPLOY_CLI names no built program")
def test_the_real_program(picture: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    found = benchmark(
        tiny_bundle, runtime=("python", "cpp"), cli=BUILT, reference="sam_tiny.pt", image=picture,
        output=tmp_path / "results", rounds=2, warmup=0, whole_image_rounds=1, points_stride=6,
        threads=1,
    )  # fmt: skip
    report: Report = found.report
    python, cpp = report.cases
    assert (python.status, cpp.status) == ("ok", "ok"), cpp.note
    assert cpp.timings.keys() == python.timings.keys()
    assert cpp.peaks.keys() == python.peaks.keys()
    assert (cpp.provider, cpp.masks) == (python.provider, python.masks)
    assert cpp.mask_iou_min is not None
    assert cpp.mask_iou_min > 0.999


def test_sixteen_points_are_the_first_of_all() -> None:
    """The program is given all points once."""
    image = np.zeros((20, 30, 3), np.uint8)
    assert np.array_equal(spread_points(64, image)[:16], spread_points(16, image))
