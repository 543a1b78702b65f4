"""OpenVINO bundles beyond the runtime contract."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from samdeploy import SAM
from samdeploy.bundle import Bundle
from samdeploy.export_pipeline import export, verify_bundle
from samdeploy.graphs import ALL_ROLES
from samdeploy.session import RuntimeOptions


def test_manifest(small_openvino_bundle: Path) -> None:
    manifest = Bundle.open(small_openvino_bundle).manifest
    assert (manifest.format, manifest.runtime, manifest.precision) == (
        "openvino", "openvino", "fp32",
    )  # fmt: skip
    files = [[record.path for record in graph.files] for graph in manifest.graphs]
    assert files == [[f"{role}.xml", f"{role}.bin"] for role in ALL_ROLES]
    assert manifest.verification.passed
    assert manifest.verification.provider == "OpenVINO CPU f32"
    assert manifest.verification.logits_max_error < 1e-4


def test_the_saved_graph_describes_itself(small_openvino_bundle: Path) -> None:
    model = ov.Core().read_model(small_openvino_bundle / "decoder.xml")
    assert model.get_rt_info(["samdeploy", "role"]).astype(str) == "decoder"
    assert [port.any_name for port in model.outputs] == ["low_res_masks", "iou_predictions"]


def test_half_weights(tmp_path: Path) -> None:
    full = export("sam_tiny.pt", "openvino", output=tmp_path / "full", verify="off")
    half = export("sam_tiny.pt", "openvino", output=tmp_path / "half", half=True)
    manifest = Bundle.open(half).manifest
    assert manifest.precision == "fp16"
    assert manifest.verification.passed
    assert manifest.verification.mask_iou_mean >= 0.995

    def weights(folder: Path) -> int:
        return sum(path.stat().st_size for path in folder.glob("*.bin"))

    assert weights(half) <= 0.52 * weights(full)


def test_same_answers_as_onnx_runtime(
    small_openvino_bundle: Path, small_bundle: Path, photo: NDArray[np.uint8]
) -> None:
    options = RuntimeOptions(threads=1, precision="f32")
    with SAM(small_openvino_bundle, options=options) as here, SAM(small_bundle, threads=1) as there:
        prompt = {"points": [[60, 60], [120, 90]], "multimask": True}
        found = here.predict(photo, channel_order="rgb", **prompt)
        expected = there.predict(photo, channel_order="rgb", **prompt)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    assert np.count_nonzero(found.data != expected.data) <= 6


def test_default_precision_is_reported(small_openvino_bundle: Path) -> None:
    with SAM(small_openvino_bundle) as sam:
        provider = sam.info()["providers"]["encoder"]
    preferred = ov.Core().get_property("CPU", "INFERENCE_PRECISION_HINT").to_string()
    assert provider == f"OpenVINO CPU {preferred}"


def test_verify_again(small_openvino_bundle: Path, small_checkpoint: Path) -> None:
    assert verify_bundle(small_openvino_bundle, small_checkpoint).passed
