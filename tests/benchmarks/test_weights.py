"""Untrained models of every published architecture, by the names of their checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest

from samdeploy.benchmarks.weights import random_checkpoint
from samdeploy.errors import InputError
from samdeploy.families import families, family_of_checkpoint, resolve
from samdeploy.models.config import PUBLISHED
from samdeploy.models.families import load_model
from samdeploy.models.hq.config import PUBLISHED as PUBLISHED_HQ
from samdeploy.models.sam2.config import PUBLISHED as PUBLISHED_SAM2


@pytest.mark.parametrize(
    ("name", "family", "architecture"),
    [
        ("mobile_sam.pt", "sam", "mobile_sam"),
        pytest.param("repvit_sam.pt", "sam", "repvit_sam", marks=pytest.mark.slow),
        ("sam2.1_t.pt", "sam2", "sam2.1_hiera_tiny"),
        pytest.param("sam2.1_hiera_small", "sam2", "sam2.1_hiera_small", marks=pytest.mark.slow),
        ("edgetam.pt", "sam2", "edgetam"),
        pytest.param("sam_hq_vit_tiny.pth", "sam_hq", "sam_hq_vit_tiny", marks=pytest.mark.slow),
    ],
)
def test_checkpoints(name: str, family: str, architecture: str, tmp_path: Path) -> None:
    path = random_checkpoint(name, tmp_path)
    found = family_of_checkpoint(path)
    assert found.name == family
    loaded = load_model(path)
    assert loaded.facts.architecture == architecture
    trained = resolve(found.parameters)(loaded.facts.config)
    assert 9e6 < trained < 50e6


def test_an_architecture_that_nobody_published(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model .sam3\.pt. with weights=random"):
        random_checkpoint("sam3.pt", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "published"),
    [("sam", PUBLISHED), ("sam2", PUBLISHED_SAM2), ("sam_hq", PUBLISHED_HQ)],
)
def test_parameters_of_every_architecture(family: str, published: dict[str, object]) -> None:
    count = resolve(families()[family].parameters)
    counts = {name: count(config.to_mapping()) for name, config in published.items()}  # type: ignore[attr-defined]
    assert all(value > 9e6 for value in counts.values())
    expected = {"sam2.1_hiera_tiny": 31440721, "sam_b": 93735472}
    assert {name: counts[name] for name in expected if name in counts} == {
        name: value for name, value in expected.items() if name in published
    }
