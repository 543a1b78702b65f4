"""The commands and the Python of the README and the quickstart run; links lead somewhere."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import samdeploy
from samdeploy import registry
from samdeploy.scenes import generate_scene

pytestmark = pytest.mark.exporting

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
QUICKSTART = (ROOT / "docs" / "quickstart.md").read_text()
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
)

#: These make an environment of their own; CI runs them itself.
IN_CI = ("make demo", "make test", "pip install")


def blocks(language: str) -> list[str]:
    """Those of the README first; the quickstart goes on where it ends."""
    return re.findall(
        rf"^```{language}\n(.*?)^```", f"{README}\n{QUICKSTART}", re.MULTILINE | re.DOTALL
    )


def commands() -> list[str]:
    """Each once, in the order of the pages."""
    lines = "".join(blocks("bash")).splitlines()
    return list(dict.fromkeys(line.split("  #")[0].strip() for line in lines if line.strip()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader would be, with a picture of their own and a folder of them."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "images").mkdir()
    for seed in (12, 13):
        Image.fromarray(generate_scene(seed).image).save(folder / "images" / f"{seed}.png")
    Image.fromarray(generate_scene(11, (480, 640)).image).save(folder / "scene.png")
    return folder


@pytest.mark.slow
def test_commands(folder: Path) -> None:
    found = [command for command in commands() if not command.startswith(IN_CI)]
    assert len(found) >= 7
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for command in found:
        done = subprocess.run(
            shlex.split(command),
            cwd=folder,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert (folder / "sam_tiny_onnx" / "bundle.json").is_file()
    assert len(list(folder.glob("runs/predict*/scene.png"))) == 3
    assert (folder / "labels" / "12.txt").is_file()
    assert (folder / "coco" / "annotations.json").is_file()


@pytest.mark.slow
def test_python(folder: Path) -> None:
    code = "\n".join(blocks("python"))
    assert "samdeploy.export" in code
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "masks.png").is_file()


@pytest.mark.parametrize("command", ["make demo", "make test"])
def test_ci_runs_the_rest(command: str) -> None:
    assert command in commands()
    assert f"\n{command}\n" in (ROOT / ".ci" / "run").read_text()


def test_what_is_installed_exists() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 or newer")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [line for line in commands() if line.startswith("pip install")]
    assert wanted
    for extra in re.findall(r"\[(\w+)\]", " ".join(wanted)):
        assert extra in project["optional-dependencies"]


def test_modules_named_in_the_text_exist() -> None:
    for page in PAGES:
        for name in re.findall(r"python -m (samdeploy[\w.]*)", (ROOT / page).read_text()):
            assert importlib.util.find_spec(name), f"{page}: {name}"


def test_every_format_and_runtime_is_in_the_table() -> None:
    for name in registry.exporter_names():
        assert f"`format={name}`" in README
    named = README.lower().replace(" ", "")
    assert all(name in named for name in registry.runtime_names() if name != "fake")


def test_every_public_name_is_on_the_api_page() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    assert not [name for name in samdeploy.__all__ if f"samdeploy.{name}" not in page]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", (ROOT / page).read_text()):
        if not target.startswith("https://"):
            assert (ROOT / page).parent.joinpath(target).exists(), target
