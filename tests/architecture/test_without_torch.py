"""Running a bundle needs no torch: neither installed nor imported."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.exporting

#: ``None`` in ``sys.modules`` makes an import fail as if the package were not installed.
CODE = """
import sys
for name in ("torch", "onnx", "onnxsim", "onnxscript", "safetensors", "supervision", "openvino"):
    sys.modules[name] = None

from samdeploy import SAM, CheckpointError, RuntimeUnavailableError, SamDeployError

bundle, picture = sys.argv[1:]
with SAM(bundle, threads=1) as sam:
    assert sam.info()["runtime"] == "onnxruntime"
    found = sam(picture, points=[[120, 90]], labels=[1])[0]
    assert found.data.shape == (1, 180, 240), found.data.shape
    whole = sam.generate(picture, points_stride=2, conf_thres=0.0, stability_score_thresh=0.0)
    whole.to_rle(), whole.to_polygons(), whole.to_coco(), whole.to_yolo(), whole.plot()

try:
    SAM("sam_tiny.pt")
except RuntimeUnavailableError as error:
    assert "torch" in str(error) and "pip install" in str(error), error
else:
    raise AssertionError("a checkpoint was opened without torch")

assert sys.modules["torch"] is None
assert not any(name.startswith("samdeploy.models") for name in sys.modules)
print("done")
"""

COMMANDS = """
import sys
sys.modules["torch"] = None
from samdeploy.cli.app import main
main(sys.argv[1:])
"""


def run(code: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=300,
    )


def test_the_api(small_bundle: Path, picture: Path, tmp_path: Path) -> None:
    done = run(CODE, small_bundle, picture, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("done\n")


def test_the_command_line(small_bundle: Path, picture: Path, tmp_path: Path) -> None:
    given = (f"model={small_bundle}", f"source={picture}", "threads=1")
    done = run(COMMANDS, "predict", *given, "points=[120,90]", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/predict/scene.png").is_file()
    done = run(COMMANDS, "formats", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "pip install 'samdeploy[export]'" in done.stdout


def test_what_needs_torch_says_so(tmp_path: Path) -> None:
    done = run(COMMANDS, "export", "model=sam_tiny.pt", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "pip install 'samdeploy[export]'" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
