"""Embeddings on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from samdeploy import SAM, Embedding, InputError
from samdeploy.geometry import Transform


@pytest.fixture
def embedding() -> Embedding:
    image = np.random.default_rng(0).integers(0, 255, (50, 90, 3), np.uint8)
    return SAM("anything", runtime="fake").encode(image)


def test_sizes(embedding: Embedding) -> None:
    assert embedding.original_size == (50, 90)
    assert embedding.input_size == (36, 64)
    assert embedding.image_embeddings.shape == (1, 3, 4, 4)
    assert embedding.low_res_side == 16


@pytest.mark.parametrize("name", ["a.npz", "without_suffix", "new/folder/a.npz"])
def test_round_trip(embedding: Embedding, tmp_path: Path, name: str) -> None:
    embedding.save(tmp_path / name)
    loaded = Embedding.load(tmp_path / name)
    np.testing.assert_array_equal(loaded.image_embeddings, embedding.image_embeddings)
    assert loaded.transform == embedding.transform
    assert loaded.image is None
    assert [path.name for path in (tmp_path / name).parent.iterdir()] == [Path(name).name]


@pytest.mark.parametrize("one_step", [False, True])
def test_other_tensors_and_ways_to_resize(tmp_path: Path, one_step: bool) -> None:
    """What another encoder answers besides, for an image that was stretched to a square."""
    rng = np.random.default_rng(0)
    tensors = {
        name: rng.normal(size=shape).astype(np.float32)
        for name, shape in (("image_embeddings", (1, 3, 4, 4)), ("fine_features", (1, 2, 16, 16)))
    }
    stretched = Transform((50, 90), (64, 64), 64, one_step)
    Embedding(tensors, stretched).save(tmp_path / "a.npz")
    loaded = Embedding.load(tmp_path / "a.npz")
    assert loaded.transform == stretched != Transform.fit((50, 90), 64)
    assert list(loaded.tensors) == list(tensors)
    for name, array in loaded.tensors.items():
        np.testing.assert_array_equal(array, tensors[name])
        assert not array.flags.writeable and tensors[name].flags.writeable


def test_nothing_executable_is_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", image_embeddings=np.array([print], object))
    with pytest.raises(InputError, match=r"bad\.npz"):
        Embedding.load(tmp_path / "bad.npz")


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04broken"])
def test_not_an_embedding(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match="not a saved embedding"):
        Embedding.load(tmp_path / "a.npz")


def test_truncated(embedding: Embedding, tmp_path: Path) -> None:
    embedding.save(tmp_path / "a.npz")
    content = (tmp_path / "a.npz").read_bytes()
    for share in (0.3, 0.7, 0.99):
        (tmp_path / "a.npz").write_bytes(content[: int(share * len(content))])
        with pytest.raises(InputError, match="not a saved embedding"):
            Embedding.load(tmp_path / "a.npz")


def test_an_archive_that_grows(embedding: Embedding, tmp_path: Path) -> None:
    np.savez_compressed(
        tmp_path / "a.npz",
        image_embeddings=np.zeros((1, 3, 4, 4), np.float32),
        original_size=np.array([50, 90]),
        image_size=np.array(64),
    )
    with pytest.raises(InputError, match="its content is compressed"):
        Embedding.load(tmp_path / "a.npz")


def test_a_header_of_more_than_there_is(embedding: Embedding, tmp_path: Path) -> None:
    embedding.save(tmp_path / "a.npz")
    content = (tmp_path / "a.npz").read_bytes()
    grown = content.replace(
        b"(1, 3, 4, 4), }" + b" " * 20, b"(1, 30000, 40000, 40000), }" + b" " * 8
    )
    assert grown != content
    assert len(grown) == len(content)
    (tmp_path / "a.npz").write_bytes(grown)
    with pytest.raises(InputError, match="not a saved embedding"):
        Embedding.load(tmp_path / "a.npz")


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        Embedding.load(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "change",
    [
        {"image_embeddings": np.zeros((4, 4), np.float32)},
        {"image_embeddings": np.zeros((1, 3, 4, 4), np.float64)},
        {"original_size": np.array([1, 2, 3])},
        {"original_size": np.array([0, 0])},
        {"image_size": np.array([1, 2])},
        {"image_size": np.array(128)},
        {"image_size": np.array(2**62)},
        {"image_size": np.array("64")},
        {"original_size": np.array([1.5, 2.5])},
        {"original_size": np.array([2**40, 2**40])},
        {"image_embeddings": np.zeros((2, 3, 4, 4), np.float32)},
        {"image_embeddings": np.zeros((1, 3, 4, 5), np.float32)},
        {"image_embeddings": np.full((1, 3, 4, 4), np.nan, np.float32)},
        {"other": np.full((2,), np.inf, np.float32)},
        {"other": np.array(["text"])},
        {"input_size": np.array([36, 65])},
        {"input_size": np.array([0, 64])},
        {"input_size": np.array(64)},
    ],
)
def test_wrong_content(embedding: Embedding, tmp_path: Path, change: dict[str, np.ndarray]) -> None:
    good = {
        "image_embeddings": embedding.image_embeddings,
        "original_size": np.array([50, 90]),
        "image_size": np.array(64),
    }
    np.savez(tmp_path / "a.npz", **{**good, **change})
    with pytest.raises(InputError, match="not a saved embedding"):
        Embedding.load(tmp_path / "a.npz")
