"""HQ-SAM's restructured decoder is the plain one: in float64 to 1e-9, on random images and
prompts."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from samdeploy.graphs_hq import HALO
from samdeploy.models.hq import HqSam, load_hq_sam
from samdeploy.models.hq.restructured import HqMaskHead, HqPrepare
from samdeploy.models.restructured import Scorer
from tests.hq_models import config_of, hq_token_only, write_checkpoint


@pytest.fixture(scope="module", params=[False, True], ids=["sum", "hq_token_only"])
def sam(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> HqSam:
    path, config = (
        write_checkpoint("small_vit", tmp_path_factory.mktemp("hq")),
        config_of("small_vit"),
    )
    return load_hq_sam(path, config=hq_token_only(config) if request.param else config).double()


@pytest.fixture(scope="module")
def image(sam: HqSam) -> tuple[Tensor, Tensor]:
    """Embedding and features."""
    generator = torch.Generator().manual_seed(3)
    dim, grid = sam.config.image_encoder.out_chans, sam.config.grid
    embedding = torch.randn(1, dim, grid, grid, generator=generator, dtype=torch.float64)
    sides = (4 * grid, 4 * grid)
    return embedding, torch.randn(1, dim // 8, *sides, generator=generator, dtype=torch.float64)


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
    sam: HqSam, image: tuple[Tensor, Tensor], rows: int, points: int, seed: int
) -> None:
    coords, labels = prompts(rows, points, seed)
    side = 4 * sam.config.grid
    no_mask = torch.zeros(rows, 1, side, side, dtype=torch.float64)
    with torch.no_grad():
        masks, iou = sam.decode(*image, coords, labels, no_mask, torch.zeros(rows).double())
        *shared, features, tokens = HqPrepare(sam)(*image)
        scores, *wanted = Scorer(sam)(*shared, coords, labels)
        assert_equal(HqMaskHead(sam)(features, tokens, *wanted), masks)
    assert_equal(scores, iou)


@pytest.mark.parametrize(("rows", "columns"), [(13, 11), (16, 11), (13, 16)])
def test_a_part_of_the_image_gives_that_part_of_the_masks(
    sam: HqSam, image: tuple[Tensor, Tensor], rows: int, columns: int
) -> None:
    """But for a margin where it ends before the image does."""
    grid = sam.config.grid
    with torch.no_grad():
        *shared, features, fine = HqPrepare(sam)(*image)
        _, tokens, scale, weights, values = Scorer(sam)(*shared, *prompts(3, 2, 5))
        whole = HqMaskHead(sam)(features, fine, tokens, scale, weights, values)
        part = HqMaskHead(sam)(
            *(x[:rows, :columns] for x in (features, fine)),
            tokens,
            *(
                x.unflatten(2, (grid, grid))[..., :rows, :columns].flatten(2)
                for x in (scale, weights)
            ),
            values,
        )
    assert part.shape[2:] == (4 * rows, 4 * columns)
    height, width = (4 * n - (HALO if n < grid else 0) for n in (rows, columns))
    assert_equal(part[..., :height, :width], whole[..., :height, :width])
    for axis, n, edge in ((2, rows, height), (3, columns, width)):
        if n < grid:  # the margin is no larger than it has to be
            found, expected = (
                x.select(axis, edge) for x in (part, whole[..., : 4 * rows, : 4 * columns])
            )
            assert (found - expected).abs().max() > 1e-6
