"""Every program of ``examples/`` runs, as its docstring says to call it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from samdeploy.scenes import generate_scene

pytestmark = pytest.mark.exporting

ROOT = Path(__file__).parents[1]
PROGRAMS = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_runs(program: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    scene = Image.fromarray(generate_scene(11, (480, 640)).image)
    (tmp_path / "pictures").mkdir()
    scene.save(tmp_path / "picture.png")
    scene.save(tmp_path / "pictures" / "scene.png")
    shutil.copytree(tiny_bundle, tmp_path / "sam_tiny_onnx")
    found = re.search(rf"^python examples/{program.name}(.*)$", program.read_text(), re.M)
    assert found, "the docstring says how to call it"
    done = subprocess.run(
        [sys.executable, program, *found[1].split()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
