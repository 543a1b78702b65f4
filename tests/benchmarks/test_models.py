"""``samdeploy benchmark compare-models``: a tiny run over two families, and what is absent."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from samdeploy import YOLO
from samdeploy.benchmarking import benchmark_models
from samdeploy.benchmarks import models, parameters, suite
from samdeploy.benchmarks.parameters import count_parameters
from samdeploy.benchmarks.published import PUBLISHED as FIGURES
from samdeploy.benchmarks.records import Case, read_report
from samdeploy.benchmarks.tables import _same, tables
from samdeploy.benchmarks.workbench import Settings, workbench
from samdeploy.bundle import read_manifest, write_manifest
from samdeploy.checkpoints import resolve_checkpoint
from samdeploy.errors import BundleError, InputError, RuntimeUnavailableError
from samdeploy.families import families, resolve
from samdeploy.models.config import PUBLISHED
from tests.yolo.conftest import read_stored, write_onnx

pytestmark = pytest.mark.exporting

QUICK: dict[str, Any] = {
    "rounds": 1, "warmup": 0, "whole_image_rounds": 1, "points_stride": 2, "threads": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def seg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph that answers with the stored outputs of YOLOv8n-seg."""
    path = tmp_path_factory.mktemp("yolo") / "yolov8n-seg.onnx"
    return write_onnx(path, read_stored("yolov8n-seg"))


@pytest.mark.slow
def test_two_families(tiny_bundle: Path, seg: Path, picture: Path, tmp_path: Path) -> None:
    said: list[str] = []
    result = benchmark_models(
        [tiny_bundle, seg, "FastSAM-s.pt", "nowhere.pt"],
        image=picture, output=tmp_path / "results", progress=said.append, **QUICK,
    )  # fmt: skip
    report = read_report(result.json)
    assert report.kind == "models"
    sam, yolo, fast, nowhere = report.cases
    assert (sam.status, sam.name, sam.runtime) == ("ok", "sam_tiny_onnx", "onnxruntime")
    assert set(sam.timings) >= {"encode", "decode_1", "decode_64", "whole_image"}
    assert sam.parameters == count_parameters(tiny_bundle)
    assert (yolo.status, yolo.name) == ("ok", "yolov8n-seg")
    assert set(yolo.timings) == {"load", "whole_image"}
    with YOLO(seg) as opened:
        assert yolo.masks == len(opened.generate(picture)) > 0
    assert yolo.artifact_bytes == seg.stat().st_size
    assert fast.status == nowhere.status == "absent"
    assert "samdeploy export model=FastSAM-s.pt trust=True" in fast.note
    assert "AGPL-3.0" in fast.note
    assert "'nowhere.pt' is neither a file" in nowhere.note
    assert result.failed == []

    first = next(iter(tables(report)))
    rows = {row[0]: dict(zip(first.header, row, strict=True)) for row in first.rows}
    shown = rows["yolov8n-seg"]
    assert shown["published: whole image (ms)"] == "59"
    assert shown["published: size (MB)"] == "6.7"
    assert shown["encode (ms)"] == "-"
    assert float(shown["whole image (ms)"]) > 0
    assert rows["FastSAM-s"]["published: whole image (ms)"] == "115"
    assert rows["sam_tiny_onnx"]["published: whole image (ms)"] == "-"
    text = result.text()
    assert "Apple M2" in text
    assert "51096" in text
    assert any(line.startswith("measuring yolov8n-seg") for line in said)


def test_random_weights(
    tiny_bundle: Path, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not here is made up; here by the shipped model, whose export is at hand."""
    made = resolve_checkpoint("sam_tiny.pt")
    monkeypatch.setattr(models, "random_checkpoint", lambda name, folder: made)
    shutil.copytree(tiny_bundle, tmp_path / "kept" / "sam_tiny_onnx")
    result = models.compare_models(
        ["mobile_sam.pt"], weights="random", image=picture, output=tmp_path / "out",
        folder=tmp_path / "kept", **QUICK,
    )  # fmt: skip
    (case,) = result.report.cases
    assert (case.status, case.note, case.name) == ("ok", "random weights", "mobile_sam")
    assert result.report.conditions.substituted
    assert case.masks is not None
    assert case.masks > 0  # of the substituted answers
    first = next(iter(tables(result.report)))
    (row,) = first.rows
    assert row[first.header.index("published: whole image (ms)")] == "46122"


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ({}, {}),
        ({"image_size": 320}, {}),
        ({"precision": "int8"}, {}),
        ({"config": {"image_encoder": {}}}, {}),
        ({}, {"imgsz": 320}),
        ({}, {"config": {"preprocess": "medsam"}}),
        ({}, {"config": {"mask_decoder": {"transformer": {"num_heads": 1}}}}),
    ],
)
def test_an_export_is_used_again_where_it_would_be_the_same(
    tiny_bundle: Path, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    stored: dict[str, Any], asked: dict[str, Any],
) -> None:  # fmt: skip
    kept = tmp_path / "sam_tiny_onnx"
    shutil.copytree(tiny_bundle, kept)
    write_manifest(kept, msgspec.structs.replace(read_manifest(kept), **stored))
    exports: list[Any] = []
    monkeypatch.setattr(suite, "export", lambda *given, **options: exports.append(given))
    checkpoint = resolve_checkpoint("sam_tiny.pt")
    with workbench(Settings(image=picture, **asked)) as bench, suppress(BundleError):
        suite.exported(bench, checkpoint, "onnx", tmp_path, lambda line: None)
    assert len(exports) == (1 if stored or asked else 0)


def test_published_figures_are_found_however_the_name_is_spelled() -> None:
    for name in ("sam_b", "mobile_sam", "FastSAM-s", "yolov8n-seg"):
        case = Case(name=name, device="cpu", status="ok")
        assert len([one for one in FIGURES if _same(one.name, case)]) == 1, name
    bundle = Case(name="mine", device="cpu", status="ok", architecture="sam_b")
    assert [one.name for one in FIGURES if _same(one.name, bundle)] == ["SAM-b"]


@pytest.mark.parametrize(("name", "expected"), [("sam_b", 93_735_472), ("mobile_sam", 10_130_092)])
def test_parameters_of_sam(name: str, expected: int) -> None:
    """The official counts, from what a manifest says."""
    count = resolve(families()["sam"].parameters)
    assert count(PUBLISHED[name].to_mapping()) == expected


def test_parameters_that_nobody_tells(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several graphs hold some of the numbers twice, so they are not added."""
    silent = replace(families()["sam"], parameters="")
    monkeypatch.setattr(parameters, "family_named", lambda name, source: silent)
    assert count_parameters(tiny_bundle) is None


def test_parameters_of_a_graph(seg: Path) -> None:
    """The stand-in has constants, but nothing trained."""
    assert count_parameters(seg) == 0


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"models": []}, InputError, "expected one or more models"),
        ({"models": ["a/x.pt", "b/x.pt"]}, InputError, "of different names"),
        ({"format": "onx"}, InputError, "format 'onx'"),
        ({"device": "tpu"}, InputError, "device 'tpu'"),
        ({"rounds": 0}, InputError, "rounds=0"),
        ({"models": ["nowhere.pt"]}, RuntimeUnavailableError, "nothing can be measured here"),
    ],
)
def test_refused(
    picture: Path, tmp_path: Path, changes: dict[str, Any], error: type[Exception], match: str
) -> None:
    arguments = {"models": ["nowhere.pt"], "image": picture, "output": tmp_path / "out", **changes}
    with pytest.raises(error, match=match):
        models.compare_models(**arguments)
    assert not (tmp_path / "out").exists()
