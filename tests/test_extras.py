"""An extra that brings a runtime, in a fresh environment: bundles run there, and torch is not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from samdeploy import SAM

pytestmark = [pytest.mark.exporting, pytest.mark.slow, pytest.mark.overnight]

ROOT = Path(__file__).parents[1]

CODE = """
import importlib.util, json, sys
assert importlib.util.find_spec("torch") is None, "torch is installed"
from samdeploy import SAM

bundle, picture = sys.argv[1:]
with SAM(bundle) as sam:
    masks = sam.predict(picture, points=[120, 90])
    whole = sam.generate(picture, points_stride=4, conf_thres=0.0, stability_score_thresh=0.0)
    answer = [sam.info(verbose=False)["runtime"], int(masks.data.sum()), len(whole)]
print(json.dumps(answer))
"""


@pytest.mark.parametrize(("extra", "bundle"), [("mnn", "small_mnn_bundle")])
def test_a_bundle_runs_without_torch(
    extra: str, bundle: str, picture: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    pytest.importorskip(f"samdeploy.runtimes.{extra}")
    folder = request.getfixturevalue(bundle)
    python = tmp_path / "venv" / "bin" / "python"
    wanted = (f"{ROOT}[{extra}]", "--constraint", ROOT / "constraints.txt")
    for words in (
        (sys.executable, "-m", "venv", tmp_path / "venv"),
        (python, "-m", "pip", "install", "--quiet", *wanted),
    ):
        subprocess.run([*map(str, words)], check=True, cwd=tmp_path)
    done = subprocess.run(
        [str(python), "-c", CODE, str(folder), str(picture)],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with SAM(folder) as sam:
        masks = sam.predict(picture, points=[120, 90])
        whole = sam.generate(picture, points_stride=4, conf_thres=0.0, stability_score_thresh=0.0)
    runtime, pixels, found = json.loads(done.stdout)
    assert runtime == extra
    assert abs(pixels - masks.data.sum()) <= 5
    assert abs(found - len(whole)) <= 1
