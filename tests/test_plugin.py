"""A third party's package brings a format and a runtime; nothing here knows it.

``tests/plugin`` is put where an installer would put it: its module and the metadata that its
``pyproject.toml`` asks for, in a folder of the search path.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib", reason="Python 3.11 or newer")

PLUGIN = Path(__file__).parent / "plugin"

CODE = """
import sys
from samdeploy import SAM, export
from samdeploy.bundle import Bundle

checkpoint, config, picture = sys.argv[1:]
folder = export(checkpoint, "torchscript", config=config, output="bundle")
record = Bundle.open(folder).manifest.verification
assert record.passed and record.provider == "TorchScript cpu", record
with SAM(folder) as sam, SAM(checkpoint, config=config) as reference:
    assert sam.info(verbose=False)["runtime"] == "torchscript"
    found, expected = (one.predict(picture, points=[120, 90]) for one in (sam, reference))
assert (found.data == expected.data).mean() > 0.999
print("used")
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the plugin installed."""
    site = tmp_path_factory.mktemp("site")
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]
    for module in PLUGIN.glob("*.py"):
        shutil.copy(module, site)
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))
    return site


def run(site: Path | None, folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": "" if site is None else str(site)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_is_listed(site: Path, tmp_path: Path) -> None:
    done = run(site, tmp_path, "-m", "samdeploy", "formats")
    assert done.returncode == 0, done.stderr
    listed = [line.split()[:3] for line in done.stdout.splitlines()]
    assert ["format", "torchscript", "usable"] in listed
    assert ["runtime", "torchscript", "usable"] in listed


def test_it_is_used_and_missed(
    site: Path, tmp_path: Path, small_checkpoint: Path, small_config: Path, picture: Path
) -> None:
    done = run(site, tmp_path, "-c", CODE, small_checkpoint, small_config, picture)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("used\n")
    # The same bundle on a machine without the plugin.
    done = run(None, tmp_path, "-m", "samdeploy", "info", "model=bundle")
    assert done.returncode == 2
    assert done.stderr == (
        "error: bundle 'bundle' (format torchscript) is for runtime 'torchscript', which nothing "
        "installed here provides; install its plugin or export the checkpoint to another format.\n"
    )


def test_its_option_and_its_scheme(
    site: Path, tmp_path: Path, small_checkpoint: Path, small_config: Path
) -> None:
    command = ("-m", "samdeploy", "export")
    model = (f"model={small_checkpoint}", f"config={small_config}", "output=rounded")
    done = run(site, tmp_path, *command, *model, "format=torchscript", "mantissa_bits=8")
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "rounded/bundle.json").read_text())
    assert (manifest["precision"], manifest["options"]) == ("mantissa8", {"mantissa_bits": 8})
    assert manifest["verification"]["tolerance"] == 0.99
    assert 0.99 < manifest["verification"]["mask_iou_mean"] < 1
    assert "torch" in manifest["tools"]
    for words, sentence in (
        (("format=torchscript", "mantissa_bits=99"), "mantissa_bits=99; expected a whole number"),
        (("mantissa_bits=8",), "mantissa_bits=8; format=onnx has no use for it, leave it out."),
        (("format=torchscript", "half=True"), "half=True; format=torchscript has no use for it"),
        (("format=torchscript", "mantisa_bits=8"), "did you mean 'mantissa_bits'?"),
    ):
        done = run(site, tmp_path, *command, *model, *words)
        assert done.returncode == 2
        assert sentence in done.stderr
    done = run(site, tmp_path, *command, "format=torchscript", "--help")
    assert "bits of the mantissa of a weight" in " ".join(done.stdout.split())
