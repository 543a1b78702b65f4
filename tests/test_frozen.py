"""What PyInstaller is told: run with a stand-in for its helpers, which do the same with less."""

from __future__ import annotations

import pkgutil
import runpy
import sys
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from samdeploy.__pyinstaller import get_hook_dirs
from samdeploy.registry import RUNTIMES, runtime_names


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Names that the hook leaves behind."""
    helpers: Any = ModuleType("PyInstaller.utils.hooks")

    def collect_entry_point(group: str) -> tuple[list[tuple[str, str]], list[str]]:
        points = [*entry_points(group=group)]
        metadata = {point.dist.name for point in points if point.dist}
        return [(name, name) for name in metadata], [point.module for point in points]

    def collect_data_files(package: str) -> list[tuple[str, str]]:
        folder = Path(str(files(package)))
        found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".py")
        return [(str(path), str(path.parent.relative_to(folder.parent))) for path in found]

    helpers.collect_entry_point, helpers.collect_data_files = (
        collect_entry_point,
        collect_data_files,
    )
    for name in ("PyInstaller", "PyInstaller.utils"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "PyInstaller.utils.hooks", helpers)
    [folder] = get_hook_dirs()
    return runpy.run_path(str(Path(folder) / "hook-samdeploy.py"))


def test_pyinstaller_finds_the_hook() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 or newer")
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    points = project["entry-points"]["pyinstaller40"]
    assert {name: pkgutil.resolve_name(value) for name, value in points.items()} == {
        "hook-dirs": get_hook_dirs
    }


def test_every_runtime_of_an_app_is_collected(hook: dict[str, Any]) -> None:
    kept = {f"samdeploy.runtimes.{name}" for name in ("onnxruntime", "openvino", "tensorrt")}
    assert kept <= set(hook["hiddenimports"])
    left_out = {
        name
        for name in runtime_names()
        for point in entry_points(group=RUNTIMES, name=name)
        if point.module not in hook["hiddenimports"]
    }
    assert left_out == {"torch", "mil", "executorch", "qnn-simulator", "rknn-simulator", "fake"}
    assert "torch" in hook["excludedimports"]
    assert {"samdeploy", "samdeploy.yolo.files"} <= set(hook["hiddenimports"])


def test_entry_points_and_data_are_collected(hook: dict[str, Any]) -> None:
    targets = {Path(source).name: target for source, target in hook["datas"]}
    assert targets["samdeploy"] == "samdeploy"  # the metadata of the distribution
    assert Path(targets["sam_tiny.pt"]) == Path("samdeploy") / "assets"
    assert targets["py.typed"] == "samdeploy"
