"""Stored answers of YOLO heads as opened models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from samdeploy.checked import CheckedSession
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


def write_onnx(path: Path, stored: Stored) -> Path:
    """An ONNX file with Ultralytics' metadata that answers every image with what is stored."""
    value, tensor = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    facts = stored.model.facts
    answers = stored.model.session.run({"images": np.zeros((1, 3, *facts.imgsz), np.float32)})
    nodes, constants = [], []
    for name, answer in answers.items():
        constants.append(onnx.numpy_helper.from_array(answer, f"{name}.stored"))
        # The input has to be used: nothing of it, multiplied with zero, is added.
        nodes += [
            onnx.helper.make_node("ReduceMax", ["images"], [f"{name}.max"], keepdims=0),
            onnx.helper.make_node("Mul", [f"{name}.max", "zero"], [f"{name}.zero"]),
            onnx.helper.make_node("Add", [f"{name}.stored", f"{name}.zero"], [name]),
        ]
    constants.append(onnx.numpy_helper.from_array(np.zeros((), np.float32), "zero"))
    graph = onnx.helper.make_graph(
        nodes,
        "stored",
        [value("images", tensor, [1, 3, *facts.imgsz])],
        [value(name, tensor, answer.shape) for name, answer in answers.items()],
        constants,
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 10
    onnx.helper.set_model_props(model, facts.to_metadata())
    onnx.save(model, path)
    return path


@pytest.fixture
def fastsam() -> Stored:
    return read_stored("FastSAM-s")


@pytest.fixture
def segmenter() -> Stored:
    return read_stored("yolov8n-seg")
