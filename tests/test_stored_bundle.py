"""Bundles and embeddings of earlier versions stay readable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from samdeploy import SAM, Embedding
from samdeploy.bundle import Bundle
from samdeploy.scenes import generate_scene
from samdeploy.schemes import scheme_named

STORED = Path(__file__).parent / "golden/bundle_v1"
#: What that version answered to these points.
POINTS = [[[20, 30]], [[50, 40]]]
SCORES, AREAS = [0.02395864, -0.02834436], [1893, 605]


@pytest.mark.parametrize("saved", [False, True])
def test_a_bundle_of_schema_1(saved: bool) -> None:
    with SAM(STORED / "bundle") as sam:
        facts = sam.info(verbose=False)
        image = generate_scene(3, (60, 80)).image
        given = Embedding.load(STORED / "embedding.npz") if saved else sam.encode(image, "rgb")
        masks = sam.predict(given, points=POINTS, labels=[[1], [1]])
    assert (facts["arithmetic"], facts["precision"], facts["verified"]) == ("fp32", "fp16", True)
    np.testing.assert_allclose(masks.scores, SCORES, atol=1e-4)
    assert np.abs(masks.data.sum((1, 2)) - AREAS).max() <= 5


def test_its_words() -> None:
    manifest = Bundle.open(STORED / "bundle").manifest
    assert list(manifest.verifications) == ["fp32"]
    palette = scheme_named("palette")  # of whatever number of bits
    assert palette is not None
    assert palette.mask_iou == 0.97
