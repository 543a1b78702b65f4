"""Embeddings kept on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from samdeploy import SAM
from samdeploy.embedding import Embedding
from samdeploy.embedding_cache import EmbeddingCache
from samdeploy.errors import InputError
from samdeploy.geometry import Transform

IMAGE = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)


class Encoder:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, image: NDArray[np.uint8]) -> Embedding:
        self.calls += 1
        features = np.full((1, 3, 4, 4), image.mean(), np.float32)
        transform = Transform.fit(image.shape[:2], 64)
        return Embedding({"image_embeddings": features}, transform, image)


def test_an_image_is_encoded_once(tmp_path: Path) -> None:
    encode = Encoder()
    first = EmbeddingCache(tmp_path, "model").get(IMAGE, encode)
    again = EmbeddingCache(tmp_path, "model").get(IMAGE.copy(), encode)
    assert encode.calls == 1
    np.testing.assert_array_equal(again.image_embeddings, first.image_embeddings)
    assert again.transform == first.transform
    assert again.image is not None


def test_other_pixels_shapes_and_models_are_others(tmp_path: Path) -> None:
    encode, cache = Encoder(), EmbeddingCache(tmp_path, "model")
    changed = IMAGE.copy()
    changed[0, 0, 0] ^= 1
    for image in (IMAGE, changed, IMAGE.reshape(40, 30, 3)):
        cache.get(image, encode)
    EmbeddingCache(tmp_path, "model f16").get(IMAGE, encode)
    assert encode.calls == 4


def test_a_damaged_file_is_made_again(tmp_path: Path) -> None:
    encode, cache = Encoder(), EmbeddingCache(tmp_path, "model")
    cache.get(IMAGE, encode)
    (stored,) = tmp_path.iterdir()
    stored.write_bytes(stored.read_bytes()[:100])
    cache.get(IMAGE, encode)
    assert encode.calls == 2
    assert Embedding.load(stored).image_embeddings.shape == (1, 3, 4, 4)


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="embedding_cache"):
        EmbeddingCache(tmp_path / "file", "model")


def test_through_the_facade(small_bundle: Path, tmp_path: Path) -> None:
    with SAM(small_bundle, embedding_cache=tmp_path) as sam:
        expected = sam.predict(IMAGE, points=[9, 9])
        assert len(list(tmp_path.iterdir())) == 1
    with SAM(small_bundle, embedding_cache=tmp_path) as sam:
        found = sam.predict(IMAGE, points=[9, 9])
        assert len(list(tmp_path.iterdir())) == 1
    np.testing.assert_array_equal(found.data, expected.data)
    with SAM("nothing", runtime="fake") as sam:
        assert sam.encode(IMAGE).image_embeddings.shape == (1, 3, 4, 4)
