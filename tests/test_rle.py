"""Run lengths against pycocotools and the official code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from samdeploy.errors import InputError
from samdeploy.masks.rle import Rle, compress, decompress

MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24))
COUNTS = st.lists(st.integers(0, 2**31), min_size=1, max_size=30)


@given(MASKS)
def test_round_trip(mask: np.ndarray) -> None:
    rle = Rle.encode(mask)
    np.testing.assert_array_equal(rle.decode(), mask)
    assert rle.area == np.count_nonzero(mask)
    assert rle.counts.sum() == mask.size


@given(MASKS)
def test_pycocotools_agrees(mask: np.ndarray) -> None:
    ours = Rle.encode(mask).to_coco()
    theirs = coco.encode(np.asfortranarray(mask, np.uint8))
    assert ours["counts"] == theirs["counts"].decode()
    np.testing.assert_array_equal(Rle.from_coco(theirs).decode(), mask)


@given(MASKS)
def test_box(mask: np.ndarray) -> None:
    ys, xs = np.nonzero(mask)
    expected = (xs.min(), ys.min(), xs.max(), ys.max()) if len(xs) else (0, 0, 0, 0)
    assert Rle.encode(mask).box == tuple(int(v) for v in expected)


@given(COUNTS)
def test_compression_round_trip(counts: list[int]) -> None:
    values = np.array(counts, np.int64)
    np.testing.assert_array_equal(decompress(compress(values)), values)


def test_official_run_lengths(golden: Path) -> None:
    helpers = json.loads((golden / "amg" / "helpers.json").read_text())["rle"]
    compressed = json.loads((golden / "amg" / "coco_rle.json").read_text())["helpers_rle"]
    with np.load(golden / "amg" / "helpers.npz") as arrays:
        for entry, text in zip(helpers, compressed, strict=True):
            mask = arrays[entry["mask"].split("[")[1].rstrip("]")].astype(bool)
            rle = Rle.encode(mask)
            assert rle.counts.tolist() == entry["rle"]["counts"]
            assert rle.area == entry["area"]
            assert list(rle.box) == entry["box_xyxy"]
            assert rle.to_coco() == text


def test_official_masks_compressed(golden: Path) -> None:
    masks = json.loads((golden / "amg" / "base.json").read_text())["masks"]
    compressed = json.loads((golden / "amg" / "coco_rle.json").read_text())["base"]
    for mask, text in zip(masks, compressed, strict=True):
        assert Rle.from_coco(mask["segmentation"]).to_coco() == text


@pytest.mark.parametrize(
    "rle",
    [
        {"size": [2, 2], "counts": [5]},
        {"size": [2, 2], "counts": [5, -1]},
        {"size": [2, 2], "counts": "05"},
        {"size": [2, 2], "counts": " "},
        {"size": [2, 2], "counts": "P"},
        # Each number is one of 60 bits; their sums are beyond 64.
        {"size": [2, 2], "counts": ("o" * 11 + "?") * 99},
        {"size": [2, 2], "counts": ("P" * 11 + "@") * 99},
    ],
)
def test_what_is_not_a_run_length_encoding(rle: dict[str, object]) -> None:
    with pytest.raises(InputError, match="RLE counts"):
        Rle.from_coco(rle)


@given(
    part=hnp.arrays(bool, st.tuples(st.integers(0, 6), st.integers(0, 6))),
    margins=st.tuples(*[st.integers(0, 3)] * 4),
)
def test_a_part_is_encoded_like_the_whole(part: np.ndarray, margins: tuple[int, ...]) -> None:
    top, bottom, left, right = margins
    whole = np.pad(part, ((top, bottom), (left, right)))
    found = Rle.encode_part(part, (top, left), whole.shape)
    np.testing.assert_array_equal(found.counts, Rle.encode(whole).counts)
    assert found.size == whole.shape
