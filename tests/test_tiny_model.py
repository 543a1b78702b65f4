"""The shipped tiny model segments as well as its model card says, on scenes that it never saw."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samdeploy.benchmarks.scene_scores import score_prompts, score_whole_image
from samdeploy.models.load import load_sam
from samdeploy.sam import SAM
from samdeploy.scenes import generate_scene

ASSET = files("samdeploy.assets") / "sam_tiny.pt"
CARD = (Path(__file__).parents[1] / "docs/model-cards/sam_tiny.md").read_text()


def stated(score: str) -> float:
    """The value of the row of the card's table that begins with ``score``."""
    (value,) = re.findall(rf"^\| {score}[^|]*\| ([\d.]+) \|", CARD, re.MULTILINE)
    return float(value)


@pytest.fixture(scope="module")
def tiny(tiny_bundle: Path) -> Iterator[SAM]:
    with SAM(tiny_bundle) as sam:
        yield sam


def test_size() -> None:
    sam = load_sam(str(ASSET))
    assert sum(p.numel() for p in sam.parameters()) <= 4_000_000
    assert len(ASSET.read_bytes()) <= 10_000_000
    assert sam.config.image_size == 256


@pytest.mark.slow
def test_prompts_reach_what_the_card_says(tiny: SAM) -> None:
    scores = score_prompts(tiny, range(48))
    assert len(scores.shares) > 300
    means = scores.means()
    for row, name, least in (
        ("one click", "click", 0.75),
        ("box", "box", 0.80),
        ("three corrective clicks", "corrected", 0.82),
    ):
        assert means[name] >= least, name
        assert means[name] == pytest.approx(stated(row), abs=0.01), name


@pytest.mark.slow
def test_whole_image_finds_the_objects_and_little_else(tiny: SAM) -> None:
    scores = score_whole_image(tiny, range(8), points_stride=16)
    assert scores.objects > 30
    assert scores.recall == pytest.approx(
        stated("whole image, objects above 1 % of the image"), abs=0.03
    )
    assert scores.recall >= 0.75
    assert scores.false_share <= 0.25


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"stability_score_thresh": 0.92}, {"crop_n_layers": 1}])
def test_filters_on_low_res_logits_find_what_exact_ones_find(
    tiny: SAM, settings: dict[str, Any]
) -> None:
    for seed in range(2):
        image = generate_scene(seed, (300, 400)).image
        exact, default = (
            tiny.generate(
                image, channel_order="rgb", points_stride=12, points_batch_size=16, exact=exact,
                **settings,
            )
            for exact in (True, False)
        )  # fmt: skip
        assert len(default) == len(exact) > 0
        np.testing.assert_array_equal(default.prompt_index, exact.prompt_index)
        np.testing.assert_allclose(default.scores, exact.scores, atol=1e-6)
        # A logit within rounding of the threshold may fall on either side.
        assert (default.data != exact.data).sum(axis=(1, 2)).max() <= 2
