"""Names to exporters and runtimes; a plugin comes in like a built-in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from importlib.metadata import EntryPoint
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from samdeploy import registry
from samdeploy.errors import InputError, RuntimeUnavailableError
from samdeploy.runtimes.fake import FakeRuntime
from samdeploy.session import Exporter, ExportOptions, Runtime


def test_built_in_names() -> None:
    assert "onnx" in registry.exporter_names()
    assert {"fake", "onnxruntime", "torch"} <= set(registry.runtime_names())


@pytest.mark.parametrize(("alias", "name"), [("ort", "onnxruntime"), ("PyTorch", "torch")])
def test_aliases(alias: str, name: str) -> None:
    assert registry.load_runtime(alias).name == name


def test_every_built_in_keeps_its_protocol() -> None:
    for name in registry.runtime_names():
        assert isinstance(registry.load_runtime(name)(), Runtime)
        assert registry.load_runtime(name).name == name
    for name in registry.exporter_names():
        exporter = registry.load_exporter(name)
        assert isinstance(exporter(), Exporter)
        assert set(exporter.runtimes) <= set(registry.runtime_names())
        assert exporter.options <= {field.name for field in fields(ExportOptions)}


def test_unknown_names_suggest() -> None:
    with pytest.raises(InputError, match="did you mean 'onnxruntime'"):
        registry.load_runtime("onnxruntim")
    with pytest.raises(InputError, match="expected one of"):
        registry.load_exporter("zzz")


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, EntryPoint]]:
    """Entry points of a third party, in the place of what is installed."""
    points: dict[str, EntryPoint] = {}
    monkeypatch.setattr(registry, "_found", lambda group: points)
    yield points


def test_a_plugin(plugins: dict[str, EntryPoint], monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("some_npu")
    module.NpuRuntime = FakeRuntime  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "some_npu", module)
    plugins["npu"] = EntryPoint("npu", "some_npu:NpuRuntime", registry.RUNTIMES)
    assert registry.load_runtime("npu") is FakeRuntime
    assert registry.availability(registry.RUNTIMES, "npu").usable


def test_a_missing_library_is_a_reason(plugins: dict[str, EntryPoint]) -> None:
    plugins["openvino"] = EntryPoint("openvino", "no_such_library:Runtime", registry.RUNTIMES)
    with pytest.raises(RuntimeUnavailableError, match=r"pip install 'samdeploy\[openvino\]'"):
        registry.load_runtime("openvino")
    state = registry.availability(registry.RUNTIMES, "openvino")
    assert not state.usable
    assert "no_such_library" in state.reason
    assert state.install == "pip install 'samdeploy[openvino]'"


def test_a_library_that_a_plugin_lacks(plugins: dict[str, Any]) -> None:
    class Broken(EntryPoint):
        dist = SimpleNamespace(name="some-npu")  # type: ignore[assignment]

    plugins["npu"] = Broken("npu", "no_such_library:Runtime", registry.RUNTIMES)
    assert registry.availability(registry.RUNTIMES, "npu").install == "pip install some-npu"
