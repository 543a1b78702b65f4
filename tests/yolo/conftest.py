"""Stored answers of YOLO heads as opened models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from samdeploy.graphs import CheckedSession
from samdeploy.scenes import generate_scene
from samdeploy.session import Array, TensorSpec
from samdeploy.yolo.metadata import YoloFacts
from samdeploy.yolo.model import YoloModel

GOLDEN = Path(__file__).parents[1] / "golden" / "yolo"


class Answering:
    """A session that answers every image with the same tensors."""

    provider = "stored"

    def __init__(self, imgsz: tuple[int, int], answers: Mapping[str, Array]) -> None:
        self.inputs = (TensorSpec("images", (1, 3, *imgsz)),)
        self.outputs = tuple(TensorSpec(name, value.shape) for name, value in answers.items())
        self._answers = dict(answers)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return dict(self._answers)

    def close(self) -> None:
        """Nothing is held."""


def answering(facts: YoloFacts, answers: Mapping[str, Array]) -> YoloModel:
    session = CheckedSession(Answering(facts.imgsz, answers), facts.role)
    return YoloModel(session, facts, Path("stored"), "stored", "cpu", None)


@dataclass
class Stored:
    """One architecture's answer for ``image``, and what Ultralytics makes of it in ``runs``."""

    model: YoloModel
    image: NDArray[np.uint8]
    runs: list[dict[str, Any]]
    arrays: dict[str, Array]

    def masks(self, run: int) -> NDArray[np.bool_]:
        height, width = self.image.shape[:2]
        packed = self.arrays[f"{run}.masks"]
        bits = np.unpackbits(packed, axis=1, count=height * width)
        return bits.reshape(-1, height, width).astype(bool)


def read_stored(name: str) -> Stored:
    described = json.loads((GOLDEN / f"{name}.json").read_text())
    with np.load(GOLDEN / f"{name}.npz") as file:
        arrays = dict(file)
    facts = YoloFacts.from_config(described, GOLDEN / name)
    answers = {
        key: value.astype(np.float32) for key, value in arrays.items() if key.startswith("output")
    }
    image = generate_scene(7, tuple(described["size"])).image
    return Stored(answering(facts, answers), image, described["runs"], arrays)


@pytest.fixture
def fastsam() -> Stored:
    return read_stored("FastSAM-s")


@pytest.fixture
def segmenter() -> Stored:
    return read_stored("yolov8n-seg")
