"""Execution providers of ONNX Runtime: compiled in or plugins, present or absent.

No plugin of a real accelerator runs where these tests do; the CPU provider, which ONNX Runtime
offers in the same way as a plugin's, stands in for one.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from samdeploy import SAM
from samdeploy.errors import RuntimeUnavailableError
from samdeploy.runtimes import onnxruntime as module
from samdeploy.scenes import Scene

Install = Callable[[str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a plugin's package with the given source where it is found, as device ``npu``."""

    def call(source: str, provider: str = "NpuExecutionProvider") -> None:
        (tmp_path / "onnxruntime_ep_npu.py").write_text(source)
        monkeypatch.syspath_prepend(str(tmp_path))
        made = module.Provider(provider, "onnxruntime-ep-npu", "onnxruntime_ep_npu:library")
        monkeypatch.setitem(module.PROVIDERS, "npu", made)

    module._register.cache_clear()
    yield call
    module._register.cache_clear()
    sys.modules.pop("onnxruntime_ep_npu", None)


def state() -> Any:
    return module.OnnxRuntime.availability().absent()["npu"]


def test_a_plugin_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = module.Provider("NpuExecutionProvider", "onnxruntime-ep-npu", "no_such_module:library")
    monkeypatch.setitem(module.PROVIDERS, "npu", made)
    assert state().reason == "ONNX Runtime is installed without NpuExecutionProvider"
    assert state().install == "pip install onnxruntime-ep-npu"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def library(): return __file__", r"cannot be loaded \(.*onnxruntime_ep_npu\.py"),
        ("def library(): raise FileNotFoundError('gone')", r"cannot be loaded \(gone\)"),
        ("import no_driver", r"cannot be loaded \(No module named 'no_driver'\)"),
        ("", r"cannot be loaded \(.*library"),
    ],
)
def test_a_plugin_that_does_not_load(install: Install, source: str, reason: str) -> None:
    install(source)
    absent = state()
    assert absent.reason.startswith("the plugin of NpuExecutionProvider cannot be loaded")
    assert re.search(reason, absent.reason), absent.reason
    assert absent.install == ""


def test_a_plugin_is_loaded_only_when_asked_for(install: Install) -> None:
    install("raise AssertionError('loaded')")
    assert "npu" in module.OnnxRuntime.availability().devices
    assert "loaded" in state().reason


def test_a_plugin_without_hardware(
    install: Install, monkeypatch: pytest.MonkeyPatch, small_bundle: Path
) -> None:
    monkeypatch.setattr(module.ort, "register_execution_provider_library", lambda *_: None)
    install("def library(): return 'library.so'")
    reason = "NpuExecutionProvider finds no hardware that it can use"
    assert state().reason == reason
    with pytest.raises(RuntimeUnavailableError, match=f"device 'npu' is not usable .*{reason}"):
        SAM(small_bundle, device="npu")


def test_a_plugin_is_registered_once_and_used(
    install: Install, monkeypatch: pytest.MonkeyPatch, small_bundle: Path, scene: Scene
) -> None:
    with SAM(small_bundle, device="cpu") as sam:
        expected = sam.predict(scene.image, points=[60, 60])
    registered: list[tuple[str, str]] = []
    monkeypatch.setattr(
        module.ort, "register_execution_provider_library", lambda *what: registered.append(what)
    )
    install("def library(): return 'library.so'", provider="CPUExecutionProvider")
    monkeypatch.setitem(module.PROVIDERS, "cpu", module.Provider("none", "onnxruntime"))
    for device in ("npu", "npu:0", "npu:cpu"):
        with SAM(small_bundle, device=device) as sam:
            assert set(sam.info(verbose=False)["providers"].values()) == {"CPUExecutionProvider"}
            found = sam.predict(scene.image, points=[60, 60])
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    assert registered == [("CPUExecutionProvider", "library.so")]
    with pytest.raises(RuntimeUnavailableError, match=r"'npu:1' is not there; .* finds cpu"):
        SAM(small_bundle, device="npu:1")


def test_a_provider_that_takes_no_operator_is_an_error(
    small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def elsewhere(self: object) -> list[Any]:
        return [SimpleNamespace(ep_name="AnotherExecutionProvider")]

    monkeypatch.setattr(
        module.ort.InferenceSession, "get_provider_graph_assignment_info", elsewhere
    )
    with pytest.raises(RuntimeUnavailableError, match="runs no operator of the encoder graph"):
        SAM(small_bundle)


def test_a_provider_that_fails_while_it_runs(small_bundle: Path, scene: Scene) -> None:
    class Broken:
        def run(self, *_: object) -> None:
            raise RuntimeError("[ONNXRuntimeError] : out of memory\nand more")

    with SAM(small_bundle) as sam:
        session: Any = sam._opened.sessions["encoder"]
        session._session._session = Broken()
        with pytest.raises(
            RuntimeUnavailableError, match=r"failed while it ran .*out of memory; c"
        ):
            sam.encode(scene.image)
