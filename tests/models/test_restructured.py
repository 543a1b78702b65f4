"""The restructured decoder is the plain one: in float64 to 1e-9, on random weights and prompts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from samdeploy.models import Sam
from samdeploy.models.load import load_sam
from samdeploy.models.restructured import MaskHead, Prepare, Scorer


@pytest.fixture(scope="module")
def sam(small_checkpoint: Path, small_config: Path) -> Sam:
    return load_sam(small_checkpoint, config=small_config).double()


def both(sam: Sam, coords: Tensor, labels: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Masks and IoU of the plain decoder and of the restructured one."""
    config = sam.config
    grid, rows = config.grid, len(coords)
    generator = torch.Generator().manual_seed(3)
    embedding = torch.randn(
        1, config.image_encoder.out_chans, grid, grid, generator=generator, dtype=torch.float64
    )
    with torch.no_grad():
        no_mask = torch.zeros(rows, 1, 4 * grid, 4 * grid, dtype=torch.float64)
        plain = sam.decode(embedding, coords, labels, no_mask, torch.zeros(rows).double())
        *shared, features = Prepare(sam)(embedding)
        iou, *wanted = Scorer(sam)(*shared, coords, labels)
        return list(plain), [MaskHead(sam)(features, *wanted), iou]


@given(rows=st.integers(1, 5), points=st.integers(1, 6), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_equal_to_the_plain_decoder(sam: Sam, rows: int, points: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    coords = torch.rand(rows, points, 2, generator=generator, dtype=torch.float64) * 256
    labels = torch.randint(-2, 4, (rows, points), generator=generator).double()
    plain, restructured = both(sam, coords, labels)
    for expected, found in zip(plain, restructured, strict=True):
        assert (found - expected).abs().max() <= 1e-9 * expected.abs().max()


def test_a_part_of_the_image_gives_that_part_of_the_masks(sam: Sam) -> None:
    grid, side = sam.config.grid, sam.config.image_encoder.out_chans
    generator = torch.Generator().manual_seed(5)
    embedding = torch.randn(1, side, grid, grid, generator=generator, dtype=torch.float64)
    coords = torch.rand(3, 2, 2, generator=generator, dtype=torch.float64) * 256
    rows, columns = grid - 3, grid - 5
    with torch.no_grad():
        *shared, features = Prepare(sam)(embedding)
        _, tokens, scale, weights, values = Scorer(sam)(*shared, coords, torch.ones(3, 2).double())
        whole = MaskHead(sam)(features, tokens, scale, weights, values)
        part = MaskHead(sam)(
            features[:rows, :columns],
            tokens,
            scale.unflatten(2, (grid, grid))[..., :rows, :columns].flatten(2),
            weights.unflatten(2, (grid, grid))[..., :rows, :columns].flatten(2),
            values,
        )
    expected = whole[..., : 4 * rows, : 4 * columns]
    assert (part - expected).abs().max() <= 1e-12 * expected.abs().max()


def test_every_part_matters(sam: Sam) -> None:
    """The comparison above would see a lost projection bias: they are not zero in these weights."""
    for name, parameter in sam.mask_decoder.transformer.named_parameters():
        if name.endswith("bias"):
            assert parameter.abs().max() > 1e-6, name
