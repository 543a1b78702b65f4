"""docs/embedding.md: its numbers are computed, and a float32 backend comes as close as it says."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from samdeploy.contracts import names_of
from samdeploy.families import families
from samdeploy.golden import golden_picture
from samdeploy.graphs import ALL_ROLES, SAM_CONTRACT
from samdeploy.opening import open_model
from samdeploy.session import RuntimeOptions

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    path = ROOT / "tools" / "embedding_example.py"
    spec = importlib.util.spec_from_file_location("embedding_example", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["embedding_example"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def example(tool: ModuleType) -> Any:
    return tool.exact()


def test_the_document_has_the_computed_numbers(tool: ModuleType, example: Any) -> None:
    text = tool.DOCUMENT.read_text()
    assert tool.fill(text, tool.blocks(example)) == text, "run: python tools/embedding_example.py"
    assert text.count("<!-- computed: ") == len(tool.blocks(example))
    side, width = example.transform.image_size, example.embeddings.shape[1]
    assert f"input side `S` = {side}, embedding width `C` = {width}" in " ".join(text.split())


@pytest.mark.exporting
def test_a_float32_backend_is_as_close_as_promised(
    tool: ModuleType, example: Any, tiny_bundle: Path
) -> None:
    text = " ".join(tool.DOCUMENT.read_text().split())
    promised = re.search(r"within ([\d.]+) of every feature and ([\d.]+) of every logit", text)
    assert promised is not None
    features, logits = map(float, promised.groups())
    opened = open_model(tiny_bundle, options=RuntimeOptions(threads=1))

    def run(role: str, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return opened.sessions[role].run(feeds)

    found = tool.compute(run, opened.image_size)
    opened.close()
    assert np.abs(found.embeddings - example.embeddings).max() <= features
    for some, others in ((found.answer, example.answer), (found.again, example.again)):
        assert np.abs(some["low_res_masks"] - others["low_res_masks"]).max() <= logits
        assert np.abs(some["iou_predictions"] - others["iou_predictions"]).max() <= features
    assert np.abs(found.masks - example.masks).max() <= logits


def test_the_split_decoder_gives_the_same_numbers(example: Any) -> None:
    np.testing.assert_allclose(
        example.scored["iou_predictions"], example.answer["iou_predictions"], atol=1e-9
    )
    np.testing.assert_allclose(example.masks[0], example.answer["low_res_masks"][0], atol=1e-8)


def test_every_tensor_is_described(tool: ModuleType) -> None:
    text = tool.DOCUMENT.read_text()
    for role in ALL_ROLES:
        assert f"**{role}**" in text
        for names in names_of(SAM_CONTRACT.tensors[role]):
            assert all(f"`{name}`" in text for name in names)
    for family in families().values():
        tensors = family.contract.tensors.values()
        named = {spec.name for specs in tensors for side in specs for spec in side}
        assert set(family.contract.meanings) == named


def test_the_picture_is_the_one_described() -> None:
    """Written out once more, pixel by pixel, as the document says it."""
    image = golden_picture()
    assert image.shape == (310, 400, 3)
    for x, y in ((0, 0), (399, 309), (150, 140), (229, 140), (230, 140), (150, 61), (150, 60)):
        disc = (x - 150) * (x - 150) + (y - 140) * (y - 140) < 80 * 80
        expected = (200, 60 + x // 8, 50) if disc else (40 + x // 4, 70 + y // 4, 150 - x // 8)
        assert tuple(image[y, x]) == expected, (x, y)
