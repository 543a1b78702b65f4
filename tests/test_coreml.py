"""Core ML packages: what is written, what it computes when read back, and what is refused.

Prediction itself needs macOS, where `tests/contract/test_coreml_itself.py` runs it.
"""

from __future__ import annotations

import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest

from samdeploy import SAM
from samdeploy.bundle import Bundle
from samdeploy.errors import BundleError, InputError, RuntimeUnavailableError
from samdeploy.exporting.pipeline import export
from samdeploy.exporting.verify import verify_bundle
from samdeploy.graphs import ALL_ROLES, DECODER, ENCODER
from samdeploy.registry import load_runtime
from samdeploy.runtimes import coreml, mil
from samdeploy.scenes import Scene
from samdeploy.session import RuntimeOptions
from tests.conftest import ExportOnce

# coremltools announces its own and NumPy's deprecations while it reads a program.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.exporting,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module")
def half_bundle(export_once: ExportOnce, small_checkpoint: Path, small_config: Path) -> Path:
    return export_once(
        "half_coreml", small_checkpoint, "mlpackage", config=small_config, half=True,
        image_input=True, max_prompts=1, verify="off",
    )  # fmt: skip


def program(package: Path) -> Any:
    return mil.MilSession(package, ENCODER if "encoder" in package.name else DECODER)


def test_manifest(small_coreml_bundle: Path) -> None:
    manifest = Bundle.open(small_coreml_bundle).manifest
    assert (manifest.format, manifest.runtime, manifest.precision) == ("coreml", "coreml", "fp32")
    files = [[record.path for record in graph.files] for graph in manifest.graphs]
    assert files[:2] == [["encoder.mlpackage"], ["decoder.mlpackage", "decoder_batch.mlpackage"]]
    assert [graph.role for graph in manifest.graphs] == list(ALL_ROLES)
    shapes = {"scorer": [1, 16], "scorer_click": [1, 2], "scorer_batch": [8, 2]}
    assert manifest.graphs[3].options == {"prompts_and_points": shapes}
    assert manifest.verification.passed
    assert manifest.verification.provider == "MIL evaluator" or sys.platform == "darwin"
    assert manifest.verification.logits_max_error < 1e-4


@pytest.mark.overnight
def test_the_package_describes_itself(half_bundle: Path) -> None:
    description = ct.utils.load_spec(str(half_bundle / "encoder.mlpackage")).description
    assert "samdeploy" in description.metadata.author
    assert description.metadata.license == "unknown"
    assert description.metadata.userDefined["samdeploy.source"] == "weights.safetensors"
    assert "RGB" in description.input[0].shortDescription
    assert description.output[0].shortDescription


@pytest.mark.overnight
def test_the_image_variant_takes_an_image(half_bundle: Path) -> None:
    spec = ct.utils.load_spec(str(half_bundle / "encoder_image.mlpackage"))
    image = spec.description.input[0].type.imageType
    assert (image.width, image.height) == (256, 256)
    assert image.colorSpace == image.RGB
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 256, 256)).astype(np.float32)
    plain = program(half_bundle / "encoder.mlpackage").run({"image": pixels})
    found = program(half_bundle / "encoder_image.mlpackage").run({"image": pixels})
    # The same graph but for where float16 begins.
    difference = np.abs(plain["image_embeddings"] - found["image_embeddings"]).max()
    assert difference <= 0.01 * np.abs(plain["image_embeddings"]).max()


@pytest.mark.overnight
def test_half_is_half_but_for_coordinates(half_bundle: Path) -> None:
    manifest = Bundle.open(half_bundle).manifest
    assert manifest.precision == "fp16"
    operations = program(half_bundle / "decoder.mlpackage")._operations
    types: dict[str, set[str]] = {}
    for op in operations:
        types.setdefault(op.op_type, set()).update(mil._numpy_name(o.dtype) for o in op.outputs)
    assert types["sin"] == types["cos"] == {"float32"}
    assert types["layer_norm"] == types["softmax"] == types["conv_transpose"] == {"float16"}


@pytest.mark.slow
@pytest.mark.overnight
def test_half_of_the_shipped_model_passes_its_gate(tmp_path: Path) -> None:
    folder = export("sam_tiny.pt", "mlpackage", output=tmp_path / "half", half=True, max_prompts=1)
    record = Bundle.open(folder).manifest.verification
    assert record.passed
    assert record.mask_iou_mean >= 0.995


@pytest.mark.overnight
def test_no_rank_above_five(half_bundle: Path) -> None:
    for name in ("encoder", "decoder"):
        for op in program(half_bundle / f"{name}.mlpackage")._operations:
            assert all(len(output.shape) <= 5 for output in op.outputs)


@pytest.mark.overnight
def test_weights_come_from_the_disk(half_bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "encoder.mlpackage"
    shutil.copytree(half_bundle / "encoder.mlpackage", copy)
    weights = copy / "Data/com.apple.CoreML/weights/weight.bin"
    content = bytearray(weights.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4096] = bytes(4096)
    weights.write_bytes(content)
    image = {"image": np.full((1, 3, 256, 256), 90, np.float32)}
    before = program(half_bundle / "encoder.mlpackage").run(image)["image_embeddings"]
    assert np.abs(program(copy).run(image)["image_embeddings"] - before).max() > 1e-3


@pytest.mark.overnight
def test_an_unknown_operator_is_an_error(
    half_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(mil._OPERATORS, "gelu")
    with pytest.raises(BundleError, match=r"uses \['gelu'\]"):
        program(half_bundle / "encoder.mlpackage")


def test_more_prompts_and_points_than_a_shape_holds(
    small_coreml_bundle: Path, small_checkpoint: Path, small_config: Path, scene: Scene
) -> None:
    rng = np.random.default_rng(5)
    points = rng.uniform(0, 180, (11, 3, 2)).tolist()  # 11 prompts: eight, then three
    with (
        SAM(small_coreml_bundle, runtime="mil") as packages,
        SAM(small_checkpoint, config=small_config) as torch,
    ):
        found = packages.predict(scene.image, points=points)
        expected = torch.predict(scene.image, points=points)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
        assert np.count_nonzero(found.data != expected.data) <= 20
        with pytest.raises(InputError, match="export it again with max_points=18"):
            packages.predict(scene.image, points=[rng.uniform(0, 180, (17, 2)).tolist()])


@pytest.mark.skipif(sys.platform == "darwin", reason="this system can predict")
def test_without_a_mac_the_way_out_is_named(small_coreml_bundle: Path) -> None:
    with pytest.raises(RuntimeUnavailableError, match=r"macOS only.*runtime=mil"):
        SAM(small_coreml_bundle)


@pytest.mark.parametrize("target", ["iOS14", "iOS15", "android", "convert"])
def test_unsupported_targets(target: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"minimum_deployment_target={target}; expected one of"):
        export("sam_tiny.pt", "coreml", output=tmp_path / "b", minimum_deployment_target=target)
    assert not list(tmp_path.iterdir())


@pytest.mark.overnight
@pytest.mark.parametrize("options", [{}, {"palette_bits": 8}], ids=["fp32", "palette8"])
def test_operators_that_came_with_ios_18(
    options: dict[str, Any], small_checkpoint: Path, small_config: Path, tmp_path: Path
) -> None:
    bundle = export(
        small_checkpoint, "coreml", output=tmp_path / "b", config=small_config,
        minimum_deployment_target="iOS18", **options,
    )  # fmt: skip
    assert Bundle.open(bundle).manifest.verification.passed
    used = {operation.op_type for operation in program(bundle / "encoder.mlpackage")._operations}
    assert "scaled_dot_product_attention" in used


def test_the_evaluator_refuses_what_it_cannot_honour(small_coreml_bundle: Path) -> None:
    opener = load_runtime("mil")()
    path = small_coreml_bundle / "encoder.mlpackage"
    with pytest.raises(RuntimeUnavailableError, match="runtime=coreml"):
        opener.open(path, ENCODER, device="npu", options=RuntimeOptions())
    with pytest.raises(InputError, match="precision=bf16"):
        opener.open(path, ENCODER, device="cpu", options=RuntimeOptions(precision="bf16"))
    broken = small_coreml_bundle / "missing.mlpackage"
    with pytest.raises(BundleError, match="not a readable ML Program"):
        opener.open(broken, ENCODER, device="cpu", options=RuntimeOptions())


def test_verify_with_the_evaluator(small_coreml_bundle: Path, small_checkpoint: Path) -> None:
    assert verify_bundle(small_coreml_bundle, small_checkpoint, runtime="mil").passed


def test_calls_of_core_ml_take_turns(
    small_coreml_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a model that cannot stand two calls at once, as Core ML's cannot."""
    package = small_coreml_bundle / "encoder.mlpackage"
    spec = ct.utils.load_spec(str(package))

    class Model:
        def __init__(self, path: str, compute_units: Any) -> None:
            self.inside = 0

        def get_compiled_model_path(self) -> str:
            return ""

        def get_spec(self) -> Any:
            return spec

        def predict(self, feeds: dict[str, Any]) -> dict[str, Any]:
            self.inside += 1
            time.sleep(0.001)  # lets other threads in
            alone = self.inside == 1
            self.inside -= 1
            if not alone:
                raise RuntimeError("two at a time")
            return {"image_embeddings": feeds["image"]}

    monkeypatch.setattr(ct.models, "MLModel", Model)
    session = coreml.CoreMlSession(package, ENCODER, ct.ComputeUnit.ALL)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda n: session.run({"image": np.array([n])}), range(20)))
    assert [answer["image_embeddings"].tolist() for answer in found] == [[n] for n in range(20)]
    monkeypatch.setattr(session._model, "inside", 1)
    with pytest.raises(RuntimeUnavailableError, match=r"Core ML ALL failed .*\(two at a time\)"):
        session.run({"image": np.array([1])})
    session.close()
    with pytest.raises(InputError, match="closed"):
        session.run({"image": np.array([1])})
