"""Masks made from a part of low-res logits are those of the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from samdeploy.constants import MASK_THRESHOLD
from samdeploy.geometry import Transform, interpolation_matrix, resize_logits
from samdeploy.masks.postprocess import mask_boxes, stability_scores
from samdeploy.masks.rle import Rle
from samdeploy.whole_image.upscaling import Upscaler

SIZES = [(120, 180), (37, 53), (133, 77), (1, 200), (200, 1), (3, 5), (64, 64), (300, 300)]


def blob(side: int, x: float, y: float, radius: float, seed: int) -> NDArray[np.float32]:
    """Logits ``[side, side]`` of a ragged disc."""
    rows, columns = np.mgrid[:side, :side]
    noise = np.random.default_rng(seed).normal(0, 0.7, (side, side))
    return (radius - np.hypot(rows - y, columns - x) + noise).astype(np.float32)


@given(
    size=st.sampled_from(SIZES),
    x=st.floats(0, 31),
    y=st.floats(0, 31),
    radius=st.floats(0.5, 30),
    seed=st.integers(0, 99),
)
def test_masks_boxes_and_stability(
    size: tuple[int, int], x: float, y: float, radius: float, seed: int
) -> None:
    transform = Transform.fit(size, 128)
    upscaler = Upscaler(transform)
    logits = blob(32, x, y, radius, seed)
    full = resize_logits(logits[None], transform)
    height, width = transform.low_res_size
    cells = mask_boxes(logits[None, :height, :width] > MASK_THRESHOLD)[0].astype(int).tolist()
    patch = upscaler.cut(logits, tuple(cells))
    found = upscaler.encode(patch).decode()
    # Sums in another order: a logit within rounding of the threshold may fall on either side.
    doubtful = np.abs(full[0]) < 1e-5
    assert ((found == (full[0] > MASK_THRESHOLD)) | doubtful).all()

    expected = mask_boxes(full > MASK_THRESHOLD)[0]
    x1, y1, x2, y2 = upscaler.boxes(logits[None])[0] - expected
    if found.any():
        assert max(x1, y1) <= 0 <= min(x2, y2), "a box never cuts its mask"
    inner = upscaler.inner_box(patch)
    if inner.any():
        x1, y1, x2, y2 = inner - expected
        assert max(x2, y2) <= 0 <= min(x1, y1), "what lies within its mask's box"

    outer = np.count_nonzero(full > -1)
    if outer:
        score = stability_scores(full, 1.0)[0]
        assert abs(upscaler.stability(logits, 1.0) - score) <= 2 / outer + 1e-6


@pytest.mark.parametrize("size", [(512, 512), (360, 512), (512, 175), (2000, 1400), (128, 90)])
@pytest.mark.parametrize(("x", "y"), [(15.2, 9.7), (0, 5), (31, 20), (16, 31)])
def test_stability_is_known_before_a_mask_is_made(
    size: tuple[int, int], x: float, y: float
) -> None:
    transform = Transform.fit(size, 128)
    upscaler = Upscaler(transform)
    height, width = transform.low_res_size
    x, y = x * width / 32, y * height / 32
    rows, columns = np.mgrid[:32, :32]
    distance = np.hypot(rows - y, columns - x)
    logits = np.stack([(r - distance) * slope for r in (3, 6, 9) for slope in (1, 3, 9)])
    scores, doubts = upscaler.estimate_stability(logits.astype(np.float32), 1.0)
    for one, score, doubt in zip(logits.astype(np.float32), scores, doubts, strict=True):
        assert abs(score - upscaler.stability(one, 1.0)) <= doubt
        assert doubt < 0.25
    counted = stability_scores(logits[:, :height, :width], 1.0)
    full = np.array([upscaler.stability(one, 1.0) for one in logits.astype(np.float32)])
    assert np.abs(scores - full).mean() < 0.5 * np.abs(counted - full).mean()


def test_a_mask_in_a_crop() -> None:
    transform = Transform.fit((40, 60), 128)
    upscaler = Upscaler(transform)
    logits = blob(32, 12, 9, 6, 0)
    patch = upscaler.cut(logits, (0, 0, 31, 20))
    inner = upscaler.encode(patch).decode()
    outer = upscaler.encode(patch, (7, 11), (90, 100)).decode()
    assert inner.any()
    np.testing.assert_array_equal(outer, Rle.encode(np.pad(inner, ((7, 43), (11, 29)))).decode())


def test_a_patch_holds_little_and_is_a_copy() -> None:
    upscaler = Upscaler(Transform.fit((600, 800), 1024))
    logits = blob(256, 100, 80, 10, 0)
    patch = upscaler.cut(logits, (88, 68, 112, 92))
    assert patch.logits.size < 30**2
    before = patch.logits.copy()
    logits[:] = 0
    np.testing.assert_array_equal(patch.logits, before)


@pytest.mark.parametrize(("length", "new_length"), [(1, 5), (4, 4), (4, 16), (16, 4), (7, 3)])
def test_interpolation_keeps_constants_and_order(length: int, new_length: int) -> None:
    matrix = interpolation_matrix(length, new_length)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-6)
    assert (matrix >= 0).all()
    assert (np.diff(matrix @ np.arange(length)) >= 0).all()
