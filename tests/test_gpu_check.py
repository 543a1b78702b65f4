"""The check for machines with a GPU, on the processor and with the small model."""

from __future__ import annotations

import importlib.util
import json
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import samdeploy
from samdeploy.errors import ExportError
from samdeploy.exporting import pipeline as export_pipeline
from samdeploy.masks.rle import Rle

FILE = Path(__file__).parents[1] / "tools" / "gpu_check.py"


@pytest.fixture(scope="module")
def tool() -> Any:
    spec = importlib.util.spec_from_file_location("gpu_check", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.exporting
def test_on_the_processor(tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object, **named: object) -> Path:
        raise ExportError("onnx is not installed")

    monkeypatch.setattr(export_pipeline, "export", refuse)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", torch.backends.cudnn.allow_tf32)
    output = tmp_path / "check.json"
    words = ["device=cpu", "model=sam_tiny.pt", "points=4", "rounds=1", f"output={output}"]
    assert tool.main(words) == 0
    report = json.loads(output.read_text())
    (model,) = report["models"]
    assert model["providers"] == {"torch": "torch cpu fp32"}
    assert model["not_run"] == {"onnxruntime": "ExportError: onnx is not installed"}
    for step in ("encode", "click", "whole_image"):
        assert set(model[step]) == {"plain", "torch"}
        assert all(seconds > 0 for seconds in model[step].values())
    assert model["encode_answers"]["torch"] < 1e-5
    assert model["click_answers"]["torch"] < 1e-4
    masks = model["whole_image_answers"]
    assert masks["plain"] >= 5
    assert abs(masks["plain"] - masks["torch"]) <= 1


def test_what_has_no_time_left_is_named(tool: Any, tmp_path: Path) -> None:
    given = {"device": "cpu", "points": "4", "rounds": "0"}
    found = tool.measure("sam_tiny.pt", tmp_path, given, lambda: 0.0)
    assert found["not_run"]["torch"] == found["not_run"]["onnxruntime"] == "no time left"
    assert found["not_run"]["encode of plain, round 0"] == "no time left"
    assert found["encode"] == found["whole_image"] == {}


def test_unknown_words(tool: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.main(["speed=9"]) == 2
    assert "unknown ['speed']; expected device, model, budget" in capsys.readouterr().err


def test_run_lengths_and_boxes(tool: Any) -> None:
    masks = np.random.default_rng(0).uniform(size=(5, 7, 9)) < 0.4
    masks[3] = False
    masks[4] = True
    inside = torch.from_numpy(masks)
    for mask, lengths, box in zip(
        masks, tool._run_lengths(inside), tool._boxes(inside).tolist(), strict=True
    ):
        expected = Rle.encode(mask)
        assert lengths == expected.counts.tolist()
        assert box == list(expected.box)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="reads TOML with the standard library")
def test_a_repository_that_is_not_installed(
    tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool, "entry_points", lambda group: ())
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(samdeploy, "__path__", list(samdeploy.__path__))
    tool.make_importable(tmp_path)
    (found,) = distributions(path=[str(tmp_path)])
    points = {point.name: point for point in found.entry_points}
    assert (points["torch"].module, points["torch"].attr) == (
        "samdeploy.runtimes.torch",
        "TorchRuntime",
    )
    assert points["tune"].group == "samdeploy.benchmarks"
    assert str(FILE.parents[1]) in samdeploy.__path__
