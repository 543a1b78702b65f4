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

pytestmark = pytest.mark.exporting

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


COMMANDS = """
import contextlib, io, json, sys
from samdeploy.cli.app import main

for words in json.loads(sys.argv[1]):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            main(words)
        except SystemExit as end:
            code = end.code or 0
    print(json.dumps([code, said.getvalue()]))
"""


@pytest.mark.slow
def test_it_is_listed_with_its_option_and_its_scheme(
    site: Path, tmp_path: Path, small_checkpoint: Path, small_config: Path
) -> None:
    model = [f"model={small_checkpoint}", f"config={small_config}", "output=rounded"]
    expected: list[tuple[list[str], int, str]] = [
        (["format=ts", "mantissa_bits=8"], 0, "wrote rounded"),
        (["format=torchscript", "mantissa_bits=99"], 2, "mantissa_bits=99; expected a whole"),
        (["mantissa_bits=8"], 2, "mantissa_bits=8; format=onnx has no use for it, leave it out."),
        (["format=torchscript", "half=True"], 2, "half=True; format=torchscript has no use for"),
        (["format=torchscript", "mantisa_bits=8"], 2, "did you mean 'mantissa_bits'?"),
        (["format=torchscript", "--help"], 0, "bits of the mantissa of a weight"),
    ]
    commands = [["formats"], *(["export", *model, *words] for words, _, _ in expected)]
    done = run(site, tmp_path, "-c", COMMANDS, json.dumps(commands))
    assert done.returncode == 0, done.stderr
    first, *lines = map(json.loads, done.stdout.splitlines())
    listed = [line.split()[:3] for line in first[1].splitlines()]
    assert ["format", "torchscript", "usable"] in listed
    assert ["runtime", "torchscript", "usable"] in listed
    for (found, said), (words, code, sentence) in zip(lines, expected, strict=True):
        assert (found, sentence in " ".join(said.split())) == (code, True), (words, said)
    manifest = json.loads((tmp_path / "rounded/bundle.json").read_text())
    assert (manifest["precision"], manifest["options"]) == ("mantissa8", {"mantissa_bits": 8})
    record = manifest["verification"]
    assert record["tolerance"] == 0.99 < record["mask_iou_mean"] < 1
    assert "torch" in manifest["tools"]
