"""The shipped tiny model really segments: scenes that it was not trained on, fixed seeds."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files

import pytest
import torch

from samdeploy.benchmarks.scene_scores import PromptScores, score_prompts, score_whole_image
from samdeploy.models.load import load_sam
from samdeploy.sam import SAM

ASSET = files("samdeploy.assets") / "sam_tiny.pt"


@pytest.fixture(scope="module")
def tiny() -> Iterator[SAM]:
    with SAM(str(ASSET)) as sam:
        yield sam


@pytest.fixture(scope="module")
def prompt_scores(tiny: SAM) -> PromptScores:
    return score_prompts(tiny, range(24))


def test_size() -> None:
    sam = load_sam(str(ASSET))
    assert sum(p.numel() for p in sam.parameters()) <= 4_000_000
    assert len(ASSET.read_bytes()) <= 10_000_000
    assert sam.config.image_size == 256


@pytest.mark.parametrize(("kind", "least"), [("click", 0.75), ("box", 0.80), ("corrected", 0.82)])
def test_prompts_reach_their_mean_iou(prompt_scores: PromptScores, kind: str, least: float) -> None:
    assert len(prompt_scores.shares) > 100
    assert prompt_scores.means()[kind] >= least


@pytest.mark.slow
def test_whole_image_finds_the_objects_and_little_else(tiny: SAM) -> None:
    recommended = torch.load(str(ASSET), weights_only=True)["whole_image"]
    scores = score_whole_image(tiny, range(8), **recommended)
    assert scores.objects > 30
    assert scores.recall >= 0.75
    assert scores.false_share <= 0.25
