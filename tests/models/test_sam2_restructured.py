"""SAM 2's restructured decoder is the plain one: in float64 to 1e-9, on random images and
prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from samdeploy.models.sam2 import Sam2, load_sam2
from samdeploy.models.sam2.restructured import Sam2MaskHead, Sam2Prepare, Sam2Scorer


@pytest.fixture(scope="module")
def sam(golden: Path, sam2_config: dict[str, Any]) -> Sam2:
    weights = golden / "sam2" / "sam2_small" / "weights.safetensors"
    return load_sam2(weights, config=sam2_config).double()


@pytest.fixture(scope="module")
def image(sam: Sam2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    dim, grid = sam.config.channels, sam.config.grid
    shapes = [(dim, grid), (dim // 8, 4 * grid), (dim // 4, 2 * grid)]
    return [
        torch.randn(1, width, side, side, generator=generator, dtype=torch.float64)
        for width, side in shapes
    ]


def prompts(rows: int, points: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    coords = torch.rand(rows, points, 2, generator=generator, dtype=torch.float64) * 256
    return coords, torch.randint(-2, 4, (rows, points), generator=generator).double()


def assert_equal(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-9 * expected.abs().max()


@given(rows=st.integers(1, 5), points=st.integers(1, 6), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_equal_to_the_plain_decoder(
    sam: Sam2, image: list[Tensor], rows: int, points: int, seed: int
) -> None:
    coords, labels = prompts(rows, points, seed)
    side = 4 * sam.config.grid
    no_mask = torch.zeros(rows, 1, side, side, dtype=torch.float64)
    with torch.no_grad():
        plain = sam.decode(*image, coords, labels, no_mask, torch.zeros(rows).double())
        *shared, features, fine, middle = Sam2Prepare(sam)(*image)
        iou, score, *wanted = Sam2Scorer(sam)(*shared, coords, labels)
        found = Sam2MaskHead(sam)(features, fine, middle, *wanted), iou, score
    for tensor, expected in zip(found, plain, strict=True):
        assert_equal(tensor, expected)


def test_a_part_of_the_image_gives_that_part_of_the_masks(sam: Sam2, image: list[Tensor]) -> None:
    grid = sam.config.grid
    rows, columns = grid - 3, grid - 5
    with torch.no_grad():
        *shared, features, fine, middle = Sam2Prepare(sam)(*image)
        _, _, tokens, scale, weights, values = Sam2Scorer(sam)(*shared, *prompts(3, 2, 5))
        whole = Sam2MaskHead(sam)(features, fine, middle, tokens, scale, weights, values)
        part = Sam2MaskHead(sam)(
            *(x[:rows, :columns] for x in (features, fine, middle)),
            tokens,
            *(
                x.unflatten(2, (grid, grid))[..., :rows, :columns].flatten(2)
                for x in (scale, weights)
            ),
            values,
        )
    assert_equal(part, whole[..., : 4 * rows, : 4 * columns])
