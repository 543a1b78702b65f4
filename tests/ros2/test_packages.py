"""The two packages as colcon will find them."""

from __future__ import annotations

import ast
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2] / "runtimes/ros2"
PYTHON = ROOT / "samdeploy_ros"

#: Types of interface files, and what stands for them in the stand-ins.
_KINDS = {"float64": "float", "int32": "int", "uint16": "int", "string": "str", "bool": "bool"}


def interface(path: str) -> list[list[tuple[str, str]]]:
    """The (type, name) pairs of each part of an interface file."""
    text = re.sub(r"#[^\n]*", "", (ROOT / "samdeploy_msgs" / path).read_text())
    parts = [[line.split() for line in part.splitlines() if line] for part in text.split("---")]
    return [[(kind, name) for kind, name in part] for part in parts]


def as_python(kind: str) -> str:
    """What a type of an interface file is called in Python."""
    if kind.endswith("[]"):
        return f"list[{as_python(kind[:-2])}]"
    return _KINDS.get(kind, kind.split("/")[-1])


def test_the_stand_ins_have_the_fields_of_the_interfaces() -> None:
    from samdeploy_msgs import msg, srv

    parts: list[tuple[str, list[Any]]] = [
        ("msg/Prompt.msg", [msg.Prompt]),
        ("srv/AddObject.srv", [srv.AddObject.Request, srv.AddObject.Response]),
        ("srv/RemoveObject.srv", [srv.RemoveObject.Request, srv.RemoveObject.Response]),
    ]
    for path, kinds in parts:
        for declared, kind in zip(interface(path), kinds, strict=True):
            given = [(getattr(f.type, "__name__", str(f.type)), f.name) for f in fields(kind)]
            plain = [(re.sub(r"\w+\.", "", str(each)), name) for each, name in given]
            expected = [(as_python(each), name) for each, name in declared]
            assert [name for _, name in plain] == [name for _, name in expected], path
            for (one, name), (other, _) in zip(plain, expected, strict=True):
                assert one in (other, "list"), f"{path}: {name}"


def test_every_interface_is_generated() -> None:
    listed = (ROOT / "samdeploy_msgs/CMakeLists.txt").read_text()
    for path in (*(ROOT / "samdeploy_msgs").rglob("*.msg"), *ROOT.rglob("*.srv")):
        assert f"  {path.parent.name}/{path.name}\n" in listed


def depended_on(package: str) -> set[str | None]:
    tree = ElementTree.parse(ROOT / package / "package.xml")
    kinds = ("depend", "exec_depend", "build_depend")
    return {each.text for kind in kinds for each in tree.findall(kind)}


def test_what_is_imported_is_depended_on() -> None:
    ours = {"samdeploy", "samdeploy_ros", "numpy"}
    # These come with packages that are named, or are ROS's own ground.
    brought = {"ament_index_python", "lifecycle_msgs"}
    imported = set()
    for path in (*(PYTHON / "samdeploy_ros").glob("*.py"), *(PYTHON / "launch").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            imported |= {name.split(".")[0] for name in names}
    third = {name for name in imported if name.endswith(("_msgs", "_interfaces", "_ros", "launch"))}
    assert third | {"rclpy"} <= depended_on("samdeploy_ros") | ours | brought
    assert {"std_msgs", "vision_msgs"} <= depended_on("samdeploy_msgs")


def test_setup_installs_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr("setuptools.setup", lambda **options: given.update(options))
    monkeypatch.chdir(PYTHON)
    exec(compile((PYTHON / "setup.py").read_text(), "setup.py", "exec"), {})
    for _, files in given["data_files"]:
        assert all((PYTHON / file).is_file() for file in files)
    assert given["packages"] == ["samdeploy_ros"]
    [script] = given["entry_points"]["console_scripts"]
    assert script == "segmenter = samdeploy_ros.node:main"
    assert f"lib/{given['name']}" in (PYTHON / "setup.cfg").read_text()
    for package in ("samdeploy_ros", "samdeploy_msgs"):
        tree = ElementTree.parse(ROOT / package / "package.xml")
        assert tree.findtext("name") == package
        assert tree.findtext("version") == given["version"]


def test_the_configuration_names_parameters() -> None:
    from samdeploy_ros.parameters import OF_ROS

    from samdeploy.robots.settings import parameters

    given = yaml.safe_load((PYTHON / "config/segmenter.yaml").read_text())
    kinds = {each.name: each.kind for each in (*parameters(), *OF_ROS)}
    for name, value in given["segmenter"]["ros__parameters"].items():
        assert type(value) is kinds[name]
