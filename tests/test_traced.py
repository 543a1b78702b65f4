"""The memory of traced graphs takes no graph for another one."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch

from samdeploy.models import GraphModule
from samdeploy.models.families import load_model
from tests.traced import key, remembered


@pytest.fixture
def graph(small_checkpoint: Path, small_config: Path) -> GraphModule:
    return load_model(small_checkpoint, config=small_config).graphs["mask_head"]


def test_whatever_a_trace_depends_on_makes_another_key(graph: GraphModule) -> None:
    first = key(graph, 17, True)
    assert key(graph, 17, True) == first
    keys = {first, key(graph, 18, True), key(graph, 17, False)}
    weight = next(graph.module.parameters())
    with torch.no_grad():
        weight.view(-1)[0] += 1
    keys.add(key(graph, 17, True))
    graph.module.setting = 3  # type: ignore[assignment]
    keys.add(key(graph, 17, True))
    assert len(keys) == 5


def test_a_trace_is_remembered_whole(graph: GraphModule, tmp_path: Path) -> None:
    calls = []

    def trace(graph: GraphModule, *_: object) -> onnx.ModelProto:
        calls.append(graph.role)
        return onnx.helper.make_model(onnx.helper.make_graph([], graph.role, [], []))

    traced = remembered(trace, tmp_path)
    first, again = (traced(graph, tmp_path, 17, True) for _ in range(2))
    assert again == first
    assert calls == ["mask_head"]
