"""``export``, ``info``, ``verify``, ``formats`` and the command itself."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from samdeploy import __version__, registry
from samdeploy.bundle import VerificationRecord
from samdeploy.cli import app
from samdeploy.errors import RuntimeUnavailableError
from samdeploy.exporting import verify_sam
from samdeploy.processor import INSTRUCTIONS
from samdeploy.runtimes.onnxruntime import PROVIDERS
from samdeploy.session import ExportOptions

pytestmark = pytest.mark.exporting

Cli = Callable[..., Any]


class TestExport:
    def test_writes_beside_the_caller_and_reports(
        self, done: Cli, small_checkpoint: Path, small_config: Path, tmp_path: Path
    ) -> None:
        outcome = done("export", f"model={small_checkpoint}", f"config={small_config}")
        assert outcome.err == ""
        lines = outcome.out.splitlines()
        assert lines[0] == "reading weights.safetensors"
        assert lines[1].startswith("exporting vit_48x4 to onnx")
        assert any("verdict" in line and "passed" in line for line in lines)
        assert lines[-1].startswith("wrote weights_onnx (")
        manifest = json.loads((tmp_path / "weights_onnx/bundle.json").read_text())
        assert manifest["verification"]["mask_iou_mean"] >= 0.999

    def test_json_leaves_standard_output_to_the_result(
        self, done: Cli, small_checkpoint: Path, small_config: Path
    ) -> None:
        words = (f"model={small_checkpoint}", f"config={small_config}", "verify=off", "output=b")
        outcome = done("export", *words, "json=True", "simplify=False", "opset=18")
        assert outcome.json["bundle"] == "b"
        assert outcome.json["verification"]["mode"] == "off"
        assert "exporting vit_48x4" in outcome.err

    def test_a_missed_tolerance_fails_or_warns(
        self,
        cli: Cli,
        small_checkpoint: Path,
        small_config: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        poor = VerificationRecord(passed=False, mode="error", mask_iou_mean=0.5, tolerance=0.999)
        monkeypatch.setattr(verify_sam, "verify_sessions", lambda *_, **__: poor)
        words = ("export", f"model={small_checkpoint}", f"config={small_config}", "output=b")
        outcome = cli(*words)
        assert outcome.code == 1
        assert "does not match the torch reference" in outcome.err
        assert list(tmp_path.iterdir()) == []
        outcome = cli(*words, "verify=warn")
        assert outcome.code == 0
        assert "MISSED" in outcome.out
        assert "warning: b missed its tolerance" in outcome.err


class TestInfo:
    def test_bundle(self, done: Cli, small_bundle: Path) -> None:
        outcome = done("info", f"model={small_bundle}")
        assert "architecture" in outcome.out
        assert "vit_48x4" in outcome.out
        facts = done("info", f"model={small_bundle}", "--json").json
        assert facts["image_size"] == 256
        assert facts["providers"]["encoder"] == "CPUExecutionProvider"
        assert facts["verified"] is True

    def test_checkpoint(self, done: Cli, small_checkpoint: Path, small_config: Path) -> None:
        words = (f"model={small_checkpoint}", f"config={small_config}", "json=1")
        assert done("info", *words).json["runtime"] == "torch"


class TestVerify:
    def test_the_checkpoint_it_was_made_from(
        self, done: Cli, small_bundle: Path, small_checkpoint: Path
    ) -> None:
        words = ("verify", f"model={small_bundle}", f"reference={small_checkpoint}")
        assert "passed" in done(*words).out
        assert done(*words, "json=True").json["passed"] is True

    def test_another_checkpoint(
        self, cli: Cli, small_bundle: Path, small_checkpoint: Path, tmp_path: Path
    ) -> None:
        state = load_file(small_checkpoint)
        generator = torch.Generator().manual_seed(0)
        changed = {k: v + 0.2 * torch.randn(v.shape, generator=generator) for k, v in state.items()}
        save_file(changed, tmp_path / "other.safetensors")
        outcome = cli("verify", f"model={small_bundle}", "reference=other.safetensors")
        assert outcome.code == 1
        assert "MISSED" in outcome.out

    @pytest.mark.parametrize(
        ("fixture", "provider"),
        [
            ("small_bundle", "CPUExecutionProvider"),
            ("small_openvino_bundle", "OpenVINO CPU fp32"),
            pytest.param(
                "small_coreml_bundle",
                "MIL evaluator",
                marks=[
                    pytest.mark.overnight,
                    pytest.mark.slow,
                    pytest.mark.skipif(sys.platform == "darwin", reason="Core ML runs there"),
                    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
                ],
            ),
        ],
    )
    def test_every_format_and_its_record(
        self,
        done: Cli,
        request: pytest.FixtureRequest,
        small_checkpoint: Path,
        tmp_path: Path,
        fixture: str,
        provider: str,
    ) -> None:
        shutil.copytree(request.getfixturevalue(fixture), tmp_path / "bundle")
        manifest = tmp_path / "bundle/bundle.json"
        content = json.loads(manifest.read_text())
        content["verification"] = {"passed": False, "mode": "off"}
        manifest.write_text(json.dumps(content))
        words = ("verify", "model=bundle", f"reference={small_checkpoint}")
        outcome = done(*words, "save=True")
        rows = dict(re.split(r" {2,}", line, maxsplit=1) for line in outcome.out.splitlines()[-12:])
        assert rows["verdict"] == "passed"
        assert rows["mask IoU, mean"].endswith("(at least 0.999)")
        assert rows["arithmetic"] == "fp32"
        assert rows["ran on"] == provider
        told = "runtime 'coreml' is not usable here" in outcome.out
        assert told == (provider == "MIL evaluator")
        record = json.loads(manifest.read_text())["verification"]
        assert (record["passed"], record["provider"]) == (True, provider)

    def test_the_tolerance_is_that_of_the_precision(
        self, done: Cli, small_openvino_bundle: Path, small_checkpoint: Path, tmp_path: Path
    ) -> None:
        shutil.copytree(small_openvino_bundle, tmp_path / "bundle")
        manifest = tmp_path / "bundle/bundle.json"
        manifest.write_text(
            manifest.read_text().replace('"precision": "fp32"', '"precision": "fp16"')
        )
        words = ("verify", "model=bundle", f"reference={small_checkpoint}")
        assert done(*words, "json=True").json["tolerance"] == 0.995


class TestFormats:
    def test_lists_everything_with_its_state(self, done: Cli) -> None:
        lines = done("formats").out.splitlines()
        assert lines[0].split() == [
            "kind", "name", "state", "devices", "or", "reason", "version", "or", "remedy",
        ]  # fmt: skip
        listed = {tuple(line.split()[:3]) for line in lines[2:]}
        assert {("format", "onnx", "usable"), ("runtime", "onnxruntime", "usable")} <= listed
        names = registry.exporter_names() + registry.runtime_names()
        kinds = ("format", "runtime")
        assert sorted(n for kind, n, _ in listed if kind in kinds) == sorted(names)
        assert {n for kind, n, _ in listed if kind == "arithmetic"} == set(INSTRUCTIONS)

    def test_every_provider_of_onnx_runtime_is_usable_or_has_a_reason(self, done: Cli) -> None:
        found = {row["name"]: row for row in done("formats", "--json").json}
        absent = {d: found[f"onnxruntime:{d}"] for d in PROVIDERS if f"onnxruntime:{d}" in found}
        usable = found["onnxruntime"]["devices"]
        assert sorted([*usable, *absent]) == sorted(PROVIDERS)
        assert "cpu" in usable
        lines = done("formats").out.splitlines()
        for device, state in absent.items():
            assert (state["kind"], state["usable"]) == ("device", False)
            assert state["reason"]
            line = next(line for line in lines if f"onnxruntime:{device} " in line)
            assert state["reason"] in line
            assert line.endswith(state["install"])

    def test_json(self, done: Cli) -> None:
        found = done("formats", "--json").json
        onnx = next(entry for entry in found if entry["name"] == "onnxruntime")
        assert onnx["usable"]
        assert "cpu" in onnx["devices"]

    def test_what_is_not_usable_has_a_reason_and_a_remedy(
        self, done: Cli, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broken = EntryPoint("onnx", "no_such_library:Exporter [export]", registry.EXPORTERS)
        found = registry._found
        monkeypatch.setattr(registry, "_found", lambda group: {**found(group), "onnx": broken})
        lines = done("formats").out.splitlines()
        line = next(line for line in lines if line.split()[:2] == ["format", "onnx"])
        assert "not usable" in line
        assert "No module named 'no_such_library'" in line
        assert "pip install 'samdeploy[export]'" in line


class TestCommand:
    @pytest.mark.parametrize("words", [[], ["--help"], ["predict", "--help"], ["export", "-h"]])
    def test_help(self, done: Cli, words: list[str]) -> None:
        assert "Usage: samdeploy" in done(*words).out

    def test_every_key_is_explained(self, done: Cli) -> None:
        text = " ".join(done("predict", "--help").out.split())  # lines are as long as the terminal
        for key in ("points_stride", "points_per_side", "conf", "masks", "output", "default: 0.88"):
            assert key in text

    def test_version(self, done: Cli) -> None:
        assert done("--version").out == f"samdeploy {__version__}\n"

    def test_debug_shows_where(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "samdeploy", "info", "model=nowhere"]
        plain = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert (plain.returncode, plain.stdout) == (2, "")
        assert plain.stderr.count("\n") == 1
        monkeypatch.setenv("SAMDEPLOY_DEBUG", "1")
        loud = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert loud.returncode == 1
        assert "Traceback" in loud.stderr
        assert "InputError" in loud.stderr

    def test_a_fault_of_ours_is_one_sentence_and_code_1(
        self, cli: Cli, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object) -> None:
            raise ZeroDivisionError("division\nby zero")

        monkeypatch.setattr(registry, "availability", broken)
        outcome = cli("formats")
        assert outcome.code == 1
        assert outcome.err == "error: unexpected ZeroDivisionError: division by zero\n"


def test_options_of_all_formats_are_looked_at_for_unknown_keys_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(app, "all_options", pytest.fail)
    words = ["export", "model=a.pt", "half=True", "json=True", "no_simplify", "verify=off"]
    assert app.exporter_options(words) is registry.load_exporter("onnx").Options


def test_help_needs_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise RuntimeUnavailableError(name)

    monkeypatch.setattr(app, "load_exporter", missing)
    assert app.exporter_options(["export", "format=coreml", "--help"]) is ExportOptions
    with pytest.raises(RuntimeUnavailableError):
        app.exporter_options(["export", "format=coreml"])
