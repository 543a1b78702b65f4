"""The measuring photographs are whole, and training is given none of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from samdeploy.benchmarks.photo_scores import mean_over_pictures, read_masks, score_photographs
from samdeploy.sam import SAM

FOLDER = Path(__file__).parent / "photographs"
ROOT = Path(__file__).parents[1]
README = (FOLDER / "README.md").read_text()


def test_every_picture_has_a_source_and_outlines() -> None:
    masks = read_masks(FOLDER)
    assert {path.stem for path in FOLDER.glob("*.jpg")} == set(masks)
    assert len(masks) >= 15
    assert sum(map(len, masks.values())) >= 60
    for picture, objects in masks.items():
        assert f"| `{picture}` | " in README
        for name, mask in objects.items():
            assert 50 < mask.sum() < 0.8 * mask.size, (picture, name)


def test_training_is_given_none_of_them() -> None:
    sources = (ROOT / "tools/photo_sources.py").read_text()
    named = re.findall(r"`([\w.-]+\.(?:jpg|png)|[\w.-]+-[\w.-]+)`", README)
    assert len(named) >= 15
    assert not [name for name in named if name in sources]


@pytest.mark.slow
@pytest.mark.overnight
def test_scores_are_those_of_the_card(tiny_bundle: Path) -> None:
    card = (ROOT / "docs/model-cards/sam_tiny.md").read_text()
    with SAM(tiny_bundle, threads=1) as sam:
        means = mean_over_pictures(score_photographs(sam, FOLDER))
    for name, row in (
        ("click", "one click"),
        ("box", "box"),
        ("corrected", "three corrective clicks"),
    ):
        (value,) = re.findall(rf"^\| photographs: {row}[^|]*\| ([\d.]+) \|", card, re.MULTILINE)
        assert means[name] == pytest.approx(float(value), abs=0.01), name
