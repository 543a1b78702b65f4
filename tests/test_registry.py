"""Names to exporters and runtimes; a plugin comes in like a built-in."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points, metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from samdeploy import libraries, registry
from samdeploy.bundle import read_manifest
from samdeploy.checkpoints import resolve_checkpoint
from samdeploy.errors import InputError, RuntimeUnavailableError
from samdeploy.exporters import onnx as onnx_exporter
from samdeploy.exporting.pipeline import export
from samdeploy.models import GraphModule
from samdeploy.options import options_of
from samdeploy.runtimes.fake import FakeRuntime
from samdeploy.session import Exporter, ExportOptions, Graph, Runtime

FOUND = registry._found
GROUPS = (registry.EXPORTERS, registry.RUNTIMES, registry.ALIASES, registry.OPENERS)


def test_built_in_names() -> None:
    assert "onnx" in registry.exporter_names()
    assert {"fake", "onnxruntime", "torch"} <= set(registry.runtime_names())


@pytest.mark.parametrize(("alias", "name"), [("ort", "onnxruntime"), ("PyTorch", "torch")])
def test_aliases(alias: str, name: str) -> None:
    assert registry.runtime_name(alias) == name
    assert registry.load_runtime(alias).name == name


def test_every_row_of_names_means_something() -> None:
    names = {*registry.runtime_names(), *registry.exporter_names()}
    aliases = entry_points(group=registry.ALIASES)
    assert {point.value for point in aliases} <= names
    assert not names.intersection(aliases.names)
    kinds = {
        registry.CHECKPOINT,
        registry.DECODER_WEIGHTS,
        registry.ONNX_FILE,
        registry.NOTHING,
    }
    assert kinds == entry_points(group=registry.OPENERS).names
    openers = {registry.opener_of(kind) for kind in kinds}
    assert openers == {"torch", "native", "onnxruntime", "fake"}


def test_every_extra_of_a_row_is_one_of_ours() -> None:
    extras = set(metadata("samdeploy").get_all("Provides-Extra") or ())
    for group in (registry.EXPORTERS, registry.RUNTIMES):
        assert {extra for point in entry_points(group=group) for extra in point.extras} <= extras


def test_the_remedy_is_an_extra_that_there_is(plugins: dict[str, EntryPoint]) -> None:
    """What needs no other library than ours is mended by installing us again."""
    for name, extra in (("mil", " [coreml]"), ("onnxruntime", "")):
        plugins[name] = EntryPoint(name, "no_such_library:Runtime" + extra, registry.RUNTIMES)
    found = {name: registry.availability(registry.RUNTIMES, name).install for name in plugins}
    assert found["mil"] == "pip install 'samdeploy[coreml]'"
    assert found["onnxruntime"] == "pip install samdeploy"


#: `dev` does without its 1.8 GB; where it is installed, `tests/test_executorch.py` tests it.
NOT_IN_DEV = {"executorch"}


def test_every_built_in_keeps_its_protocol() -> None:
    for name in {*registry.runtime_names()} - NOT_IN_DEV:
        assert isinstance(registry.load_runtime(name)(), Runtime)
        assert registry.load_runtime(name).name == name
    for name in {*registry.exporter_names()} - NOT_IN_DEV:
        exporter = registry.load_exporter(name)
        assert isinstance(exporter(), Exporter)
        assert set(exporter.runtimes) <= set(registry.runtime_names())
        assert issubclass(exporter.Options, ExportOptions)
        assert all(each.metadata["help"] for each in options_of(exporter.Options).values())


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
    plugins["openvino"] = EntryPoint(
        "openvino", "no_such_library:Runtime [openvino]", registry.RUNTIMES
    )
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


@pytest.fixture
def broken(
    plugins: dict[str, EntryPoint], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], None]]:
    """Makes the runtime ``npu`` one whose module has the given text."""

    def make(text: str) -> None:
        (tmp_path / "npu_library.py").write_text(text)
        plugins["npu"] = EntryPoint("npu", "npu_library:Runtime", registry.RUNTIMES)

    monkeypatch.syspath_prepend(tmp_path)
    yield make
    sys.modules.pop("npu_library", None)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("raise OSError('libnpu.so.1: cannot open shared object file')", "OSError: libnpu.so.1: c"),
        ("raise ImportError('numpy.core.multiarray failed\\n to import')", "multiarray failed to"),
        ("raise AttributeError('_ARRAY_API not found')", "AttributeError: _ARRAY_API not found"),
        ("raise RuntimeError('Could not determine home directory.')", "home directory"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import sys; sys.exit()", "SystemExit"),
        ("Runtime = 1 / 0", "ZeroDivisionError: division by zero"),
        ("def Runtime(:", "SyntaxError"),
        ("", "AttributeError: module 'npu_library' has no attribute 'Runtime'"),
    ],
)
def test_a_library_that_does_not_work_is_a_reason(
    broken: Callable[[str], None], text: str, says: str
) -> None:
    broken(text)
    state = registry.availability(registry.RUNTIMES, "npu")
    assert not state.usable
    assert says in state.reason
    assert state.install.startswith("it is installed but does not work")
    with pytest.raises(RuntimeUnavailableError) as refused:
        registry.load_runtime("npu")
    assert says in str(refused.value)
    assert "pip install" not in str(refused.value)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("raise KeyError('driver')", "KeyError: 'driver'"),
        ("raise SystemExit('no licence')", "SystemExit: no licence"),
        ("return None", "TypeError"),
    ],
)
def test_a_plugin_that_cannot_tell_its_state(
    broken: Callable[[str], None], answer: str, says: str
) -> None:
    broken(f"class Runtime:\n @classmethod\n def availability(cls): {answer}")
    state = registry.availability(registry.RUNTIMES, "NPU")
    assert not state.usable
    assert says in state.reason


def test_a_look_for_devices_that_fails_is_one_row(broken: Callable[[str], None]) -> None:
    broken(
        "from samdeploy.session import Availability\n"
        "class Runtime:\n"
        " @classmethod\n"
        " def availability(cls): return Availability(devices=('npu',), absent=lambda: 1 / 0)"
    )
    state = registry.availability(registry.RUNTIMES, "npu")
    assert state.devices == ("npu",)
    assert state.absent()["others"].reason == "ZeroDivisionError: division by zero"


def test_one_broken_library_ends_nothing_else(
    broken: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {group: dict(FOUND(group)) for group in GROUPS}
    broken("raise OSError('libtbb.so.12: cannot open shared object file')")
    for group in (registry.EXPORTERS, registry.RUNTIMES):
        found[group]["openvino"] = EntryPoint("openvino", "npu_library:Any", registry.RUNTIMES)
    monkeypatch.setattr(registry, "_found", found.__getitem__)
    checkpoint = resolve_checkpoint("sam_tiny.pt")
    with pytest.raises(RuntimeUnavailableError, match=r"format 'openvino'.*libtbb\.so\.12"):
        export(checkpoint, "openvino", output=tmp_path / "bundle")
    monkeypatch.setattr(onnx_exporter.OnnxExporter, "runtimes", ("openvino",))

    def write(_: object, graph: GraphModule, folder: Path, options: ExportOptions) -> Graph:
        (folder / graph.role).write_text("graph")
        return Graph(graph.role, (Path(graph.role),), graph.inputs, graph.outputs)

    monkeypatch.setattr(onnx_exporter.OnnxExporter, "export", write)
    made = export(checkpoint, output=tmp_path / "bundle")
    assert "libtbb.so.12" in read_manifest(made).verification.note


@pytest.mark.parametrize("group", ["samdeploy.schemes", "samdeploy.families"])
def test_a_broken_addition_is_left_out_and_named(
    group: str, monkeypatch: pytest.MonkeyPatch, noticed: Callable[[], list[str]]
) -> None:
    points = [EntryPoint("theirs", "no_such_package:THEIRS", group)]
    monkeypatch.setattr(libraries, "entry_points", lambda group: points)
    assert libraries.added(group) == []
    assert "'no_such_package:THEIRS' of " + group + " is left out" in noticed()[0]
