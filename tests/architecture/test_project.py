"""The project as a whole: what is packed, and what is published."""

from __future__ import annotations

import itertools
import re
import subprocess
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib", reason="Python 3.11 or newer")

ROOT = Path(__file__).parents[2]


def test_every_folder_of_python_is_in_the_wheel() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = set(project["tool"]["setuptools"]["packages"])
    found = set()
    for folder in ("samdeploy", "exporters", "runtimes", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.is_relative_to(ROOT / "runtimes/ros2"):  # packages of ROS, built by its tools
                continue
            name = path.parent.relative_to(ROOT).as_posix().replace("/", ".")
            found.add(name if folder == "samdeploy" else f"samdeploy.{name}")
    assert found == packages


def test_every_development_tool_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"]]
    for extra in ("export", "openvino", "plot", "dev"):
        wanted += [entry for entry in extras[extra] if not entry.startswith("samdeploy[")]
    pinned = {
        line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().split()
    }
    for requirement in wanted:
        name = requirement.split(">=")[0].lower()
        # torch is chosen by the Makefile, because each platform has its own build.
        assert name in pinned or name == "torch", f"{name} is not in constraints.txt"


def test_every_dependency_is_explained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / "docs" / "dependencies.md").read_text()
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    for requirement in itertools.chain(*groups):
        name = requirement.split(">=")[0]
        assert name.startswith("samdeploy[") or name in text, name


def test_the_image_installs_what_there_is() -> None:
    """The Dockerfile, as far as it can be told without building it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    docker, makefile = (ROOT / "Dockerfile").read_text(), (ROOT / "Makefile").read_text()
    [torch] = re.findall(r"^ARG TORCH=(\S+)$", docker, re.MULTILINE)
    assert f"TORCH ?= {torch}\n" in makefile
    [extras] = re.findall(r"'/source\[([\w,]+)\]'", docker)
    assert set(extras.split(",")) <= set(project["project"]["optional-dependencies"])
    [command] = re.findall(r'^ENTRYPOINT \["(\w+)"\]$', docker, re.MULTILINE)
    assert command in project["project"]["scripts"]
    left_out = set((ROOT / ".dockerignore").read_text().split())
    folders = {path.split("/")[0] for path in project["tool"]["setuptools"]["package-dir"].values()}
    assert not left_out.intersection({*folders, "pyproject.toml", "constraints.txt", "LICENSE"})


def test_the_project_speaks_of_itself_alone() -> None:
    """No machine paths in what is published."""
    listed = subprocess.run(
        ["git", "ls-files", "*.py", "*.md", "*.toml", "Makefile"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.split():
        text = (ROOT / name).read_text()
        assert "/work" + "/" not in text, name
        assert "/root" + "/" not in text, name
