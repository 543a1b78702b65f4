"""A bundle on a machine that cannot run it: one sentence with the way out, exit code 2."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from samdeploy import registry
from samdeploy.runtimes import coreml
from samdeploy.session import Availability

pytestmark = pytest.mark.exporting


@pytest.fixture
def refused(cli: Callable[..., Any]) -> Callable[..., None]:
    def call(*arguments: object, match: str) -> None:
        outcome = cli(*arguments)
        assert outcome.code == 2, outcome
        assert re.fullmatch(r"error: \S[^\n]*\.\n", outcome.err), outcome.err
        assert re.search(match, outcome.err), outcome.err

    return call


def test_a_runtime_that_no_one_knows_here(
    refused: Callable[..., None], small_bundle: Path, small_checkpoint: Path, tmp_path: Path
) -> None:
    shutil.copytree(small_bundle, tmp_path / "bundle")
    manifest = tmp_path / "bundle/bundle.json"
    content = json.loads(manifest.read_text()) | {"runtime": "some_npu", "format": "npu"}
    manifest.write_text(json.dumps(content))
    match = r"'bundle' \(format npu\) is for runtime 'some_npu'.*install its plugin or export"
    refused("info", "model=bundle", match=match)
    refused("verify", "model=bundle", f"reference={small_checkpoint}", match=match)


def test_a_library_that_is_not_installed(
    refused: Callable[..., None], small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = EntryPoint("onnxruntime", "no_such_library:X", registry.RUNTIMES)
    found = {registry.RUNTIMES: {absent.name: absent}, registry.EXPORTERS: {"onnx": absent}}
    others = registry._found
    monkeypatch.setattr(registry, "_found", lambda group: found.get(group) or others(group))
    refused("info", f"model={small_bundle}", match="No module named 'no_such_library'.*pip install")


def test_a_bundle_opened_with_a_runtime_of_another_format(
    refused: Callable[..., None], small_openvino_bundle: Path
) -> None:
    refused(
        "info", f"model={small_openvino_bundle}", "runtime=onnxruntime",
        match=r"does not open 'encoder.xml'; expected a file ending in \.onnx",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["device=directml"], "'directml' is not usable.*Windows only; usable: cpu"),
        (["device=cuda"], "'cuda' is not usable.*pip install onnxruntime-gpu; usable: cpu"),
        (["device=abacus"], "unknown device 'abacus'; expected one of"),
        (["precision=bf16"], "precision=bf16; device 'cpu' of ONNX Runtime computes in fp32"),
        (
            ["precision=f8", "runtime=openvino"],
            "precision=f8; expected one of fp32, tf32, bf16, bf16-encoder",
        ),
        (["device=npu", "runtime=openvino"], "'npu' is not one that OpenVINO finds here"),
        (["imgsz=512"], "imgsz are fixed in a bundle"),
    ],
)
def test_devices_and_options_that_are_not_there(
    refused: Callable[..., None], small_bundle: Path, words: list[str], match: str
) -> None:
    refused("info", f"model={small_bundle}", *words, match=match)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["cache=cached"], "cache=cached; runtime 'onnxruntime' has no use for it"),
        (["precision=fp16"], "precision=fp16; device 'cpu' of ONNX Runtime computes in fp32"),
    ],
)
def test_predict_refuses_them_too(
    refused: Callable[..., None], small_bundle: Path, picture: Path, words: list[str], match: str
) -> None:
    given = ("predict", f"model={small_bundle}", f"source={picture}", "points=[9,9]", "output=out")
    refused(*given, *words, match=match)
    assert not Path("out").exists()


@pytest.mark.skipif(sys.platform == "darwin", reason="this system can predict")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.slow
class TestCoreMl:
    @pytest.fixture
    def small_coreml_bundle(self, small_coreml_bundle: Path, tmp_path: Path) -> Path:
        """Its own: coremltools touches a package that it reads, perhaps in another process."""
        return Path(shutil.copytree(small_coreml_bundle, tmp_path / "packages"))

    def test_away_from_macos(self, refused: Callable[..., None], small_coreml_bundle: Path) -> None:
        refused("info", f"model={small_coreml_bundle}", match="macOS only.*runtime=mil")

    def test_a_macos_that_is_too_old(
        self,
        refused: Callable[..., None],
        small_coreml_bundle: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        class TooOld:
            """Loads with a warning and fails when it is to be compiled, as on an older system."""

            def __init__(self, package: str, compute_units: Any) -> None:
                assert Path(package).is_dir()

            def get_compiled_model_path(self) -> str:
                raise RuntimeError("Error compiling model:\nunknown opset 'CoreML9'.")

        usable = Availability(devices=tuple(coreml.COMPUTE_UNITS))
        monkeypatch.setattr(coreml.CoreMlRuntime, "availability", lambda: usable)
        monkeypatch.setattr(coreml.ct.models, "MLModel", TooOld)
        refused(
            "info", f"model={small_coreml_bundle}",
            match="unknown opset 'CoreML9'.*older minimum_deployment_target, or update macOS",
        )  # fmt: skip

    def test_options_of_other_runtimes(
        self,
        refused: Callable[..., None],
        small_coreml_bundle: Path,
        picture: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        usable = Availability(devices=tuple(coreml.COMPUTE_UNITS))
        monkeypatch.setattr(coreml.CoreMlRuntime, "availability", lambda: usable)
        given = ("predict", f"model={small_coreml_bundle}", f"source={picture}", "points=[9,9]")
        refused(*given, "threads=2", match="threads=2; runtime 'coreml' has no use for it")
