"""A fine-tune that sees images in its own way, as a bundle: what it was trained with is what every
runtime gives it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from samdeploy import SAM, export
from samdeploy.bundle import Bundle
from samdeploy.exporting.verify import verify_bundle
from samdeploy.models.load import load_sam
from samdeploy.preprocess import MEDSAM_STEPS
from samdeploy.session import RuntimeOptions

pytestmark = [pytest.mark.exporting, pytest.mark.slow]

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def bundle(
    tmp_path_factory: pytest.TempPathFactory, small_checkpoint: Path, small_config: Path
) -> Path:
    folder = tmp_path_factory.mktemp("medsam") / "bundle"
    return export(
        small_checkpoint, output=folder, config=small_config, preprocess="medsam", int8=True,
        weights_only=True, verify="warn",
    )  # fmt: skip


@pytest.fixture(scope="module")
def dark(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return (photo * 0.6).astype(np.uint8) + 20


def official_embedding(checkpoint: Path, config: Path) -> NDArray[np.float32]:
    """The encoder alone, on what MedSAM's own steps made of the picture."""
    with np.load(GOLDEN / "medsam" / "preprocess.npz") as stored:
        low, high = stored["256/range"].astype(np.float64)
        scaled = (stored["256/resized"] - low) / (high - low)
    tensor = torch.from_numpy(scaled.astype(np.float32)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        return load_sam(checkpoint, config=config).image_encoder(tensor).numpy()


def test_the_torch_runtime(
    dark: NDArray[np.uint8], small_checkpoint: Path, small_config: Path
) -> None:
    config = {**json.loads(small_config.read_text()), "preprocess": "medsam"}
    options = RuntimeOptions(config=config)
    with SAM(small_checkpoint, options=options) as sam:
        found = sam.encode(dark, "rgb")
    expected = official_embedding(small_checkpoint, small_config)
    # Two grey levels are right where a value is a whole number, for a few pixels in 100,000.
    assert np.abs(found.image_embeddings - expected).max() <= 1e-3 * np.abs(expected).max()
    assert found.transform.input_size == (256, 256)


def test_a_bundle(
    bundle: Path, dark: NDArray[np.uint8], small_checkpoint: Path, small_config: Path
) -> None:
    manifest = Bundle.open(bundle).manifest
    assert manifest.preprocess == MEDSAM_STEPS and "preprocess" not in manifest.config
    assert manifest.verification.mask_iou_mean > 0.9
    expected = official_embedding(small_checkpoint, small_config)
    with SAM(bundle) as sam:
        found = sam.encode(dark, "rgb").image_embeddings
        assert len(sam.predict(dark, points=[60, 60])) == 1
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert error < 0.05  # weights in 8 bits; of SAM's own steps it is above 0.5
    with SAM(small_checkpoint, config=small_config) as plain:
        other = plain.encode(dark, "rgb").image_embeddings
    assert np.linalg.norm(other - expected) / np.linalg.norm(expected) > 0.5


def test_it_is_verified_with_its_own_steps(bundle: Path, small_checkpoint: Path) -> None:
    record = verify_bundle(bundle, small_checkpoint)
    assert record.mask_iou_mean == Bundle.open(bundle).manifest.verification.mask_iou_mean


def test_an_older_bundle_means_what_it_meant(dark: NDArray[np.uint8]) -> None:
    stored = GOLDEN / "bundle_v1" / "bundle"
    assert Bundle.open(stored).manifest.preprocess is None
    with SAM(stored) as sam:
        height, width = sam.encode(dark, "rgb").transform.input_size
    assert height / width == pytest.approx(180 / 240, abs=0.02)
