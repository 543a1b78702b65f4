"""MNN bundles: what is written, what is refused, and that a wrong file is found out."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from samdeploy.bundle import Bundle
from samdeploy.errors import BundleError, ExportError, InputError, RuntimeUnavailableError
from samdeploy.exporting.pipeline import export
from samdeploy.exporting.verify import verify_bundle
from samdeploy.graphs import DECODER, ENCODER
from samdeploy.registry import RUNTIMES, availability
from samdeploy.session import RuntimeOptions

exporter = pytest.importorskip("samdeploy.exporters.mnn")
runtime = pytest.importorskip("samdeploy.runtimes.mnn")

pytestmark = pytest.mark.exporting

OPTIONS = RuntimeOptions(threads=1)
#: A layer, a block and a part that stay float.
KEPT = ("image_encoder.blocks.0.attn.qkv", "image_encoder.blocks.2", "image_encoder.neck")


def test_manifest(small_mnn_bundle: Path) -> None:
    manifest = Bundle.open(small_mnn_bundle).manifest
    assert (manifest.format, manifest.runtime, manifest.precision) == ("mnn", "mnn", "fp32")
    record = manifest.verification
    assert (record.passed, record.provider) == (True, "MNN CPU fp32")
    # Exact GELU; the converter's approximation is a thousandth off.
    assert record.embedding_max_error < 1e-4
    assert manifest.tools["MNN"]


def test_one_flipped_weight_fails_its_verification(
    small_mnn_bundle: Path, small_checkpoint: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(small_mnn_bundle, tmp_path / "bundle")
    weight = load_file(small_checkpoint)["image_encoder.neck.2.weight"].ravel()
    path = folder / "encoder.mnn"
    content = bytearray(path.read_bytes())
    place = content.find(weight[:8].astype("<f4").tobytes())
    assert place > 0
    content[place + 3] ^= 0x40  # the highest bit of the exponent
    path.write_bytes(content)
    with pytest.raises(BundleError, match="was changed: its SHA-256"):
        verify_bundle(folder, small_checkpoint)
    manifest = json.loads((folder / "bundle.json").read_text())
    [record] = [
        file for g in manifest["graphs"] for file in g["files"] if file["path"] == path.name
    ]
    record["sha256"] = hashlib.sha256(content).hexdigest()
    (folder / "bundle.json").write_text(json.dumps(manifest))
    assert not verify_bundle(folder, small_checkpoint).passed


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"half": True},
        pytest.param({"int8": True}, marks=pytest.mark.overnight),
        pytest.param({"int8": True, "half": True}, marks=pytest.mark.overnight),
    ],
)
def test_smaller_weights_pass_their_gates(
    options: dict[str, Any], small_mnn_bundle: Path, small_checkpoint: Path, small_config: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    folder = export(
        small_checkpoint, "mnn", config=small_config, output=tmp_path / "bundle", **options
    )
    manifest = Bundle.open(folder).manifest
    assert manifest.precision == ("int8" if "int8" in options else "fp16")
    assert manifest.verification.passed
    assert manifest.verification.embedding_max_error > 1e-5
    sizes, plain = (
        {path.stem: path.stat().st_size for path in bundle.glob("*.mnn")}
        for bundle in (folder, small_mnn_bundle)
    )
    assert sizes[ENCODER] < (0.4 if "int8" in options else 0.6) * plain[ENCODER]
    assert (sizes[DECODER] < 0.7 * plain[DECODER]) == ("half" in options)


@pytest.mark.slow
def test_layers_that_stay_float(small_checkpoint: Path, small_config: Path, tmp_path: Path) -> None:
    from samdeploy.models import graph_modules
    from samdeploy.models.load import load_sam

    graph = graph_modules(load_sam(small_checkpoint, config=small_config))[ENCODER]
    image = np.random.default_rng(0).uniform(0, 255, (1, 3, 256, 256)).astype(np.float32)
    expected = graph.run({"image": image})["image_embeddings"]
    sizes, errors = [], []
    for number, kept in enumerate(((), KEPT, ("image_encoder",))):
        folder = tmp_path / str(number)
        folder.mkdir()
        options = exporter.MnnOptions(int8=True, float_layers=kept)
        [file] = exporter.MnnExporter().export(graph, folder, options).files
        assert [path.name for path in folder.iterdir()] == ["encoder.mnn"]
        sizes.append((folder / file).stat().st_size)
        session = runtime.MnnRuntime().open(folder / file, ENCODER, device="cpu", options=OPTIONS)
        found = session.run({"image": image})["image_embeddings"]
        session.close()
        errors.append(float(np.abs(found - expected).max()))
    assert sizes[0] < sizes[1] < sizes[2]
    assert errors[0] > errors[1] > errors[2] > 0


def test_a_converter_that_fails_leaves_nothing(
    small_checkpoint: Path, small_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "_CONVERTER", "print('no such operator')")
    with pytest.raises(
        ExportError, match=r"MNN could not convert the encoder \(no such operator\)"
    ):
        export(small_checkpoint, "mnn", config=small_config, output=tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_printed(
    small_mnn_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The library prints on standard output, where answers of commands go."""
    graph = small_mnn_bundle / "encoder.mnn"
    runtime._is_here.cache_clear()
    state = availability(RUNTIMES, "mnn")
    assert state.devices == ("cpu",)
    session = runtime.MnnRuntime().open(graph, ENCODER, device="cpu", options=OPTIONS)
    session.run({"image": np.zeros((1, 3, 256, 256), np.float32)})
    session.close()
    broken = tmp_path / "encoder.mnn"
    broken.write_bytes(graph.read_bytes()[:100_000])
    with pytest.raises(BundleError, match=r"encoder\.mnn' \(.*[Bb]uffer.*\); export it again"):
        runtime.MnnRuntime().open(broken, ENCODER, device="cpu", options=OPTIONS)
    assert capfd.readouterr().out == ""


def test_other_devices_have_a_reason(small_mnn_bundle: Path) -> None:
    graph = small_mnn_bundle / "encoder.mnn"
    absent = availability(RUNTIMES, "mnn").absent()
    assert set(absent) == {"metal", "opencl", "vulkan", "nnapi"}
    for device in absent:
        with pytest.raises(RuntimeUnavailableError, match=f"'{device}' is not usable by MNN here"):
            runtime.MnnRuntime().open(graph, ENCODER, device=device, options=OPTIONS)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (RuntimeOptions(precision="fp16"), "precision=fp16; runtime 'mnn' has no use for it"),
        (RuntimeOptions(streams=2), "streams=2; runtime 'mnn' has no use for it"),
    ],
)
def test_options_of_other_runtimes(
    small_mnn_bundle: Path, options: RuntimeOptions, match: str
) -> None:
    with pytest.raises(InputError, match=match):
        runtime.MnnRuntime().open(
            small_mnn_bundle / "encoder.mnn", ENCODER, device="cpu", options=options
        )
