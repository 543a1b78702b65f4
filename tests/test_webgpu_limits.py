"""ONNX graphs are narrow and their tensors small enough for WebGPU, which gives no error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from samdeploy.bundle import read_manifest
from samdeploy.errors import ExportError
from samdeploy.exporters.onnx import OnnxExporter, OnnxOptions
from samdeploy.exporters.passes.onnx_largest import largest_tensor
from samdeploy.exporters.passes.onnx_narrow import MOST_OPERANDS
from samdeploy.models.layers import MOST_BYTES
from samdeploy.models.loaded import GraphModule
from samdeploy.models.sam2 import Sam2Encoder
from samdeploy.models.sam2.config import PUBLISHED
from samdeploy.models.sam2.sam2 import Sam2
from samdeploy.session import TensorSpec


class Joins(nn.Module):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x + i for i in range(self.count)], dim=1)


class Splits(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack(x.split(1, dim=1)).amax(0)


def written(module: nn.Module, folder: Path, width: int) -> onnx.ModelProto:
    x, y = TensorSpec("x", ("prompts", 10)), TensorSpec("y", ("prompts", width))
    graph = GraphModule("scorer", module, (x,), (y,), lambda prompts, _: {"prompts": prompts})
    OnnxExporter().export(graph, folder, OnnxOptions())
    return onnx.load(folder / "scorer.onnx")


@pytest.mark.parametrize("count", [2, 7, 8, 11, 49, 50])
def test_concatenations_are_taken_apart(count: int, tmp_path: Path) -> None:
    model = written(Joins(count), tmp_path, 10 * count)
    assert max(len(node.input) for node in model.graph.node) <= MOST_OPERANDS
    x = np.arange(20, dtype=np.float32).reshape(2, 10)
    [found] = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    np.testing.assert_array_equal(found, np.hstack([x + i for i in range(count)]))


def test_another_wide_operator_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"of the scorer graph has . inputs and 10 outputs"):
        written(Splits(), tmp_path, 1)


def test_the_largest_tensor(tmp_path: Path) -> None:
    model = written(Joins(4), tmp_path, 40)
    assert largest_tensor(model, {"prompts": 5}) == ("y", 5 * 40 * 4)


def test_a_large_one_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noticed: Callable[[], list[str]]
) -> None:
    monkeypatch.setattr("samdeploy.exporters.onnx.MOST_BYTES", 39 * 4)
    written(Joins(4), tmp_path, 40)
    [sentence] = noticed()
    assert "'y' of the scorer graph" in sentence


@pytest.mark.parametrize("bundle", ["tiny_bundle", "small_bundle"])
def test_bundles_stay_within(bundle: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(bundle)
    for graph in read_manifest(folder).graphs:
        assert 0 < graph.options["largest_tensor"] <= MOST_BYTES
        nodes = onnx.load(folder / graph.files[0].path).graph.node
        assert max(max(len(node.input), len(node.output)) for node in nodes) <= MOST_OPERANDS


class Largest(TorchDispatchMode):
    """Bytes of the largest tensor that any operator gives."""

    found = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **kwargs or {})
        for each in result if isinstance(result, tuple | list) else (result,):
            if isinstance(each, Tensor):
                self.found = max(self.found, each.nbytes)
        return result


@pytest.mark.parametrize("name", PUBLISHED)
def test_encoders_of_sam2_stay_within(name: str) -> None:
    encoder = Sam2Encoder(Sam2(PUBLISHED[name])).to("meta")
    with torch.inference_mode(), Largest() as largest:
        encoder(torch.empty(1, 3, 1024, 1024, device="meta"))
    assert 0 < largest.found <= MOST_BYTES
