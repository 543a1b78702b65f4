"""The trunk knows no backend: names of formats and runtimes stand in entry points."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from samdeploy import registry
from samdeploy.devices import DEVICES

ROOT = Path(__file__).parents[2]
NAMES = {
    *registry.exporter_names(),
    *registry.runtime_names(),
    *entry_points(group=registry.ALIASES).names,
}
#: Devices of ONNX Runtime that are called like a backend.
ALLOWED = {"samdeploy/devices.py": NAMES.intersection(DEVICES)}


def offenders(file: str, source: str) -> list[str]:
    names = NAMES - ALLOWED.get(file, set())
    return [
        f"{file}:{text.lineno} says {text.value!r}; ask the registry"
        for text in _texts(ast.parse(source))
        if str(text.value).lower() in names
    ]


def _texts(tree: ast.Module) -> Iterator[ast.Constant]:
    """Texts of a module; its docstrings are never as short as a name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node


def test_no_backend_is_named_in_the_trunk() -> None:
    files = sorted((ROOT / "samdeploy").glob("*.py"))
    assert len(files) > 40
    found = [
        line
        for path in files
        for line in offenders(path.relative_to(ROOT).as_posix(), path.read_text())
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "source",
    [
        'runtime = runtime or "torch"',
        'def f(name="OnnxRuntime"): ...',
        'ALIASES = {"trt": 1}',
        'name == "fake"',
    ],
)
def test_an_offender_is_found(source: str) -> None:
    assert len(offenders("samdeploy/opening.py", source)) == 1
    assert not offenders("samdeploy/opening.py", '"""Torch runs it."""\nname = "encoder"')


def test_only_devices_may_be_called_like_backends() -> None:
    assert offenders("samdeploy/opening.py", 'name = "coreml"')
    assert not offenders("samdeploy/devices.py", 'name = "coreml"')
    assert offenders("samdeploy/devices.py", 'name = "onnxruntime"')
