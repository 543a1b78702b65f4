"""The README's way to LiteRT, in environments of its own: the converter's, the exporter's, and one
that only runs bundles. Some gigabytes of downloads and many minutes: overnight alone."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from samdeploy import SAM
from samdeploy.bundle import Bundle
from samdeploy.bundle_files import sha256
from samdeploy.exporting.pipeline import export
from samdeploy.exporting.verify import verify_bundle
from samdeploy.scenes import Scene
from tests.test_litert import flipped, floats_inside

pytestmark = [
    pytest.mark.overnight,
    pytest.mark.slow,
    pytest.mark.exporting,
    pytest.mark.timeout(0),
]

ROOT = Path(__file__).parents[1]


def environment(folder: Path, *packages: str) -> Path:
    """The Python of a new environment."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
    return python


@pytest.fixture(scope="module")
def converter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("converter") / "env", "litert-torch==0.10.0")


@pytest.fixture(scope="module")
def bundle(converter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("bundles") / "tiny"
    return export("sam_tiny.pt", "tflite", output=output, converter=str(converter))


def test_it_passes_its_gate(bundle: Path, tiny_bundle: Path, scene: Scene) -> None:
    manifest = Bundle.open(bundle).manifest
    assert (manifest.format, manifest.runtime, manifest.precision) == ("litert", "litert", "fp32")
    assert manifest.verification.passed
    assert manifest.graphs[0].options["tools"]["litert-torch"] == "0.10.0"
    with SAM(bundle) as found, SAM(tiny_bundle) as expected:
        for points in ([[120, 90]], [[[20, 30], [60, 70]], [[200, 100], [10, 10]]]):
            some, others = (sam.predict(scene.image, points=points) for sam in (found, expected))
            assert (some.data != others.data).sum() <= 20
        assert len(found.generate(scene.image)) == len(expected.generate(scene.image))


@pytest.mark.parametrize(
    "options",
    [
        {"half": True},
        {"int8": True},
        {"int8": True, "weights_only": True},
        {"int8": True, "integers": True},
    ],
)
def test_schemes_pass_their_gates(
    converter: Path, tmp_path: Path, options: dict[str, bool]
) -> None:
    folder = export(
        "sam_tiny.pt", "litert", output=tmp_path / "small", converter=str(converter),
        max_prompts=8, **options,
    )  # fmt: skip
    assert Bundle.open(folder).manifest.verification.passed
    assert (floats_inside(folder / "encoder.tflite") == 0) is ("integers" in options)


def test_a_flipped_weight_fails_the_verification(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    path, manifest = copy / "encoder.tflite", copy / "bundle.json"
    before = sha256(path)
    flipped(path, path)
    manifest.write_text(manifest.read_text().replace(before, sha256(path)))
    assert not verify_bundle(copy, "sam_tiny.pt").passed


def test_running_needs_no_torch(bundle: Path, tmp_path: Path) -> None:
    python = environment(tmp_path / "env", f"{ROOT}[litert]")
    code = (
        "import sys, numpy, samdeploy\n"
        "image = numpy.random.default_rng(0).integers(0, 255, (90, 120, 3), numpy.uint8)\n"
        "with samdeploy.SAM(sys.argv[1]) as sam:\n"
        "    assert sam.info()['runtime'] == 'litert'\n"
        "    assert sam.predict(image, points=[[60, 45]]).data.shape == (1, 90, 120)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([python, "-c", code, bundle], check=True, cwd=tmp_path)
