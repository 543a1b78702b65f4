"""Calls of any numbers of prompts and points reach a backend in few shapes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from samdeploy.bounded_shapes import BoundedShapes
from samdeploy.checked import CheckedSession
from samdeploy.geometry import Transform
from samdeploy.graphs import DECODER, ENCODER
from samdeploy.prompts import Prompt, encode_prompts
from samdeploy.runtimes.fake import IMAGE_SIZE, FakeDecoder, FakeEncoder
from samdeploy.session import Array

TRANSFORM = Transform.fit((IMAGE_SIZE, IMAGE_SIZE), IMAGE_SIZE)


class Watched(FakeDecoder):
    """Notes the shapes of prompts that it is run with."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self.shapes.append(feeds["point_labels"].shape)
        return super().run(feeds)


def prompts(count: int, points: int, seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    given = [
        Prompt(rng.uniform(0, IMAGE_SIZE, (points, 2)), rng.integers(0, 2, points))
        for _ in range(count)
    ]
    encoded = encode_prompts(given, TRANSFORM, IMAGE_SIZE // 4)
    embedding = np.zeros((1, 3, IMAGE_SIZE // 16, IMAGE_SIZE // 16), np.float32)
    return {"image_embeddings": embedding, **encoded.feeds()}


@pytest.mark.parametrize(
    ("count", "points", "shapes"),
    [
        (1, 1, [(1, 2)]),
        (4, 3, [(4, 4)]),
        (1, 4, [(1, 8)]),
        (13, 1, [(8, 2), (4, 2), (1, 2)]),
        (16, 31, [(16, 32)]),
    ],
)
def test_calls_are_divided_and_filled_up(
    count: int, points: int, shapes: list[tuple[int, ...]]
) -> None:
    watched = Watched()
    feeds = prompts(count, points)
    found = CheckedSession(BoundedShapes(watched), DECODER).run(feeds)
    assert watched.shapes == shapes
    for name, expected in FakeDecoder().run(feeds).items():
        np.testing.assert_array_equal(found[name], expected)


def test_few_shapes_reach_the_backend() -> None:
    """All calls of 1 to 16 prompts with 1 to 59 points: powers of two up to 16 times those from 2
    to 64, instead of 944 pairs."""
    watched = Watched()
    session = BoundedShapes(watched)
    rng = np.random.default_rng(0)
    for seed in range(120):
        session.run(prompts(int(rng.integers(1, 17)), int(rng.integers(1, 60)), seed))
    assert set(watched.shapes) <= {(2**p, 2**t) for p in range(5) for t in range(1, 7)}


def test_what_has_no_prompts_passes() -> None:
    image = np.ones((1, 3, IMAGE_SIZE, IMAGE_SIZE), np.float32)
    found = CheckedSession(BoundedShapes(FakeEncoder()), ENCODER).run({"image": image})
    assert found["image_embeddings"].shape == (1, 3, IMAGE_SIZE // 16, IMAGE_SIZE // 16)
