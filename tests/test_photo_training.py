"""Training pictures that look like photographs: what their labels promise to training."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SIDE = 160


@pytest.fixture(scope="module")
def tools() -> Any:
    folder = str(Path(__file__).parents[1] / "tools")
    sys.path.insert(0, folder)
    try:
        yield import_module
    finally:
        sys.path.remove(folder)


@pytest.fixture(scope="module")
def collages(tools: Any) -> list[Any]:
    rng = np.random.default_rng(0)
    photograph = rng.integers(0, 256, (240, 260, 3), np.uint8)
    cutout = np.zeros((64, 64, 4), np.uint8)
    cutout[8:56, 8:56] = (200, 60, 30, 255)
    render = tools("photo_collages").render_collage
    return [render(np.random.default_rng(seed), [cutout], [photograph], SIDE) for seed in range(20)]


def test_parts_lie_on_wholes_and_seeds_repeat(tools: Any, collages: list[Any]) -> None:
    unknown = tools("photo_sample").UNKNOWN
    parts = 0
    for sample in collages:
        assert sample.image.shape == (SIDE, SIDE, 3)
        for part in np.flatnonzero(sample.parents):
            parts += 1
            whole = sample.parents[part]
            assert 0 < whole < part < unknown
            assert not sample.parents[whole]
    assert parts > 10


def test_a_prompt_on_a_whole_wants_its_parts_too(tools: Any, collages: list[Any]) -> None:
    data = tools("tiny_data")
    pictures = data.Pictures(
        images=np.stack([s.image.clip(0, 255).astype(np.uint8) for s in collages]),
        labels=np.stack([s.labels for s in collages]),
        parents=np.stack([s.parents for s in collages]),
        photographs=True,
    )
    rng = np.random.default_rng(1)
    wholes = 0
    for _ in range(6):
        batch = data.sample_batch(rng, [(1.0, [pictures])], 4, 8)
        labels = np.repeat(batch.labels, 8, axis=0)
        for row in np.flatnonzero(batch.on_object):
            target = batch.targets[row]
            (number,) = np.unique(labels[row][target])  # those of wholes: parts carry theirs
            assert 0 < number < tools("photo_sample").UNKNOWN
            wholes += bool((target == (labels[row] == number)).all())
    assert wholes > 60


def test_no_picture_is_unknown_wherever_pixels_are_grouped(tools: Any) -> None:
    data, unknown = tools("tiny_data"), tools("photo_sample").UNKNOWN
    labels = np.full((1, SIDE, SIDE), unknown, np.uint8)
    labels[:, :, SIDE // 2] = 1  # a line: most looks at it have it between the pixels
    pictures = data.Pictures(
        images=np.zeros((1, SIDE, SIDE, 3), np.uint8),
        labels=labels,
        parents=np.zeros((1, 256), np.uint8),
        photographs=True,
    )
    batch = data.sample_batch(np.random.default_rng(3), [(1.0, [pictures])], 20, 1)
    assert (data.coarse(batch.labels) != unknown).any((1, 2)).all()


def test_files_of_several_jobs_are_read_once_each(tools: Any, tmp_path: Path) -> None:
    data = tools("tiny_data")
    known: dict[Path, Any] = {}
    for number in (0, 2, 1):
        np.savez(
            tmp_path / f"photo_{number:04d}.npz",
            images=np.full((1, 2, 2, 3), number, np.uint8),
            labels=np.zeros((1, 2, 2), np.uint8),
            parents=np.zeros((1, 256), np.uint8),
        )
        data.load_photographs(tmp_path, known)
    assert [int(pictures.images.max()) for pictures in known.values()] == [0, 2, 1]


def test_what_is_not_square_is_padded_as_the_runtime_pads(tools: Any) -> None:
    data = tools("tiny_data")
    rng = np.random.default_rng(2)
    white, ones = np.full((200, 200, 3), 255, np.uint8), np.ones((200, 200), np.uint8)
    padded = 0
    for _ in range(20):
        pixels, labels = data.look(rng, white, ones)
        outside = labels == tools("photo_sample").UNKNOWN
        padded += bool(outside.any())
        assert outside[-1, -1] == outside.any()
        for channel, mean in zip(pixels, data.PIXEL_MEAN, strict=True):
            assert (channel[outside] == np.float32(mean)).all()
            assert (channel[~outside] > 200).all()
    assert 5 < padded < 20
