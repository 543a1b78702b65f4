"""``samdeploy benchmark``: a real, tiny run, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from samdeploy import SAM
from samdeploy.benchmarks.records import read_report
from tests.yolo.conftest import read_stored, write_onnx

pytestmark = pytest.mark.exporting

QUICK = ("rounds=2", "warmup=0", "whole_image_rounds=1", "points_stride=2", "threads=1")


@pytest.fixture(scope="module")
def kept(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the export in it, which the run takes instead of making one."""
    folder = tmp_path_factory.mktemp("kept")
    shutil.copytree(tiny_bundle, folder / "sam_tiny_onnx")
    return folder


class TestRun:
    @pytest.mark.slow
    @pytest.mark.overnight
    def test_two_formats(
        self, done: Callable[..., Any], picture: Path, kept: Path, tmp_path: Path
    ) -> None:
        """ONNX Runtime and torch, and a GPU that is not asked of either where there is none."""
        outcome = done(
            "benchmark", "model=sam_tiny.pt", "formats=onnx,torch", "device=cpu,mps",
            f"image={picture}", f"folder={kept}", "output=results", *QUICK,
        )  # fmt: skip
        (path,) = (tmp_path / "results").glob("*.json")
        report = read_report(path)
        assert re.fullmatch(r"formats_sam_tiny_\d{8}T\d{6}\.json", path.name)
        assert path.with_suffix(".md").is_file()
        assert path.with_suffix(".html").is_file()
        assert str(kept / "sam_tiny_onnx") in outcome.out  # was used again

        onnx, absent, torch = report.cases[:3]
        assert (onnx.status, onnx.runtime, onnx.provider) == (
            "ok", "onnxruntime", "CPUExecutionProvider",
        )  # fmt: skip
        assert (absent.status, absent.timings) == ("absent", {})
        assert "onnxruntime offers cpu" in absent.note
        assert (torch.status, torch.provider) == ("ok", "torch cpu fp32")
        for case in (onnx, torch):
            assert list(case.timings) == [
                "load", "encode", "click", "image_to_mask", "decode_1", "decode_16", "decode_64",
                "whole_image",
            ]  # fmt: skip
            assert [len(value.samples) for value in case.timings.values()] == [2, *[2] * 6, 1]
            assert all(value.median > 0 for value in case.timings.values())
            assert list(case.peaks) == ["load", "encode", "click", "prompts", "whole_image"]
            one_process = list(case.peaks.values())[1:-1]
            assert sorted(one_process) == one_process
            assert case.peaks["load"] > 30e6
            assert case.artifact_bytes is not None
            assert case.artifact_bytes > 1e6
            assert case.masks is not None
        assert onnx.mask_iou_mean is not None
        assert onnx.mask_iou_mean > 0.999
        assert torch.mask_iou_min == 1
        assert report.conditions.whole_image == {"points_stride": 2}
        assert report.conditions.image_size == (180, 240)
        assert {published.name for published in report.published} >= {"SAM-b", "MobileSAM"}
        assert "CPUExecutionProvider" in outcome.out
        assert "51096" in outcome.out

        same = done("benchmark", "compare", str(path), str(path), "json=True").json
        assert same["unlike"] == []
        assert {ratio["ratio"] for ratio in same["ratios"]} == {1.0}

    def test_a_bundle_from_python(self, tiny_bundle: Path, picture: Path, tmp_path: Path) -> None:
        options = {"rounds": 1, "warmup": 0, "whole_image": False, "repeats": 2}
        with SAM(tiny_bundle) as sam:
            result = sam.benchmark(image=picture, output=tmp_path, **options)
        (case,) = result.report.cases
        assert case.name == "onnx"
        assert len(case.timings["load"].samples) == len(case.timings["encode"].samples) == 2
        assert "whole_image" not in case.timings
        assert case.masks is None
        assert case.mask_iou_mean is None
        assert result.report.reference == "none given"
        assert result.failed == []
        assert json.loads(result.json.read_text())["kind"] == "formats"


def test_models(done: Callable[..., Any], picture: Path, tmp_path: Path) -> None:
    write_onnx(tmp_path / "yolov8n-seg.onnx", read_stored("yolov8n-seg"))
    outcome = done(
        "benchmark", "compare-models", "models=yolov8n-seg.onnx,yolov8x.pt", f"image={picture}",
        "rounds=1", "warmup=0", "output=results",
    )  # fmt: skip
    assert re.search(r"yolov8n-seg +✅.* 59 +6\.7", outcome.out)
    assert re.search(r"yolov8x +❎", outcome.out)
    assert list((tmp_path / "results").glob("models_comparison_*.json"))


@pytest.fixture
def refused(cli: Callable[..., Any], tmp_path: Path) -> Callable[..., None]:
    def call(*arguments: object, match: str) -> None:
        before = sorted(tmp_path.rglob("*"))
        outcome = cli(*arguments)
        assert outcome.code == 2, outcome
        assert re.fullmatch(r"error: \S[^\n]*[.?]\n", outcome.err), outcome.err
        assert re.search(match, outcome.err), outcome.err
        assert sorted(tmp_path.rglob("*")) == before

    return call


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ([], "'benchmark' needs model="),
        (["model=nowhere.pt"], "nowhere.pt"),
        (["model=sam_tiny.pt", "formats=onx"], "format 'onx'.*'onnx'"),
        (["model=sam_tiny.pt", "formats=onnx:f8"], "expected one of fp32, tf32, bf16"),
        (["model=sam_tiny.pt", "formats=onnx,,torch"], "names between commas"),
        (["model=sam_tiny.pt", "device=tpu"], "device 'tpu'; expected one or more of cpu"),
        (["model=sam_tiny.pt", "formats=torch", "device=npu"], "nothing can be measured.*torch"),
        (["model=sam_tiny.pt", "image=nowhere.png"], "'nowhere.png' does not exist"),
        (["model=sam_tiny.pt", "rounds=0"], "rounds=0; expected 1 or more"),
        (["model=sam_tiny.pt", "points_stride=0"], "points_stride=0"),
        (["model=sam_tiny.pt", "output=scene.png"], "'scene.png' cannot be written to"),
        (["peers", "model=sam_b.pt", "output=scene.png/in"], "cannot be written to"),
        (["model=sam_tiny.pt", "weights=best"], "weights='best'"),
        (["model=sam_tiny.pt", "weights=random"], "expected one of sam_b.pt"),
        (["model=sam_tiny.pt", "reference=sam_tiny.pt"], "is its own reference"),
        (["compare", "a.json"], "'benchmark-compare' needs second="),
        (["compare", "a.json", "b.json"], "'a.json' cannot be read"),
        (["compare", "a.json", "b.json", "c.json"], "'c.json' stands alone"),
        (["peers", "model=sam_tiny.pt"], "'tiny_vit', which no peer runs"),
        (["peers", "model=sam_b.pt", "peers=mta"], "peers=mta; expected one or more of meta"),
        (["peers", "model=sam_b.pt", "malloc=big"], "malloc=big"),
        (["compare-models"], "'benchmark-compare-models' needs models="),
        (["compare-models", "models=a.pt,a.pt"], "of different names"),
        (["pears", "model=sam_b.pt"], "'pears' stands alone"),
    ],
)
def test_bad_input(
    refused: Callable[..., None], picture: Path, arguments: list[str], match: str
) -> None:
    given = arguments
    if any(word.startswith("model=") for word in arguments) and "image=nowhere.png" not in given:
        given = [*arguments, f"image={picture}"]
    refused("benchmark", *given, match=match)


def test_a_bundle_takes_no_formats(
    refused: Callable[..., None], tiny_bundle: Path, picture: Path
) -> None:
    given = (f"model={tiny_bundle}", f"image={picture}")
    refused("benchmark", *given, "formats=onnx", match="is a bundle; leave formats")
