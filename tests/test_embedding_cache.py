"""Embeddings kept on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from samdeploy import SAM
from samdeploy.embedding import Embedding
from samdeploy.embedding_cache import EmbeddingCache
from samdeploy.engine import Engine
from samdeploy.errors import InputError
from samdeploy.geometry import Transform
from samdeploy.opening import open_model
from samdeploy.session import RuntimeOptions

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


def test_whole_images_are_kept_and_found(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"points_stride": 2, "conf_thres": 0, "stability_score_thresh": 0}
    with SAM(small_bundle, embedding_cache=tmp_path) as sam:
        sam.generate(IMAGE, crop_n_layers=1, **settings)
        assert len(list(tmp_path.iterdir())) == 1  # crops are not kept
    with SAM(small_bundle) as sam:
        expected = sam.generate(IMAGE, **settings)
    monkeypatch.setattr(Engine, "encode", lambda *_: pytest.fail("encoded"))
    with SAM(small_bundle, embedding_cache=tmp_path) as sam:
        found = sam.generate(IMAGE, **settings)
        sam.predict(IMAGE, points=[9, 9])
    assert len(found) > 0
    np.testing.assert_array_equal(found.data, expected.data)


def test_a_checkpoint_of_another_architecture_is_another(
    small_checkpoint: Path, small_config: Path, tmp_path: Path
) -> None:
    """The file is the same; what its tensors do not tell is not, wherever it was written."""
    config = json.loads(small_config.read_text())
    other = {**config, "image_encoder": {**config["image_encoder"], "layer_norm_eps": 1e-3}}
    (tmp_path / "config.json").write_text(json.dumps(other))
    keys = []
    for each in (config, small_config, other, tmp_path / "config.json"):
        opened = open_model(small_checkpoint, options=RuntimeOptions(config=each))
        keys.append(opened.encoder_key)
        opened.close()
    assert keys[0] == keys[1] != keys[2] == keys[3]
