"""Sines and cosines as polynomials, which are the same on every device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from samdeploy.bundle import Bundle
from samdeploy.exporters.passes.onnx_angles import expand_angles
from samdeploy.graphs import DECODER, SCORER


def both() -> onnx.ModelProto:
    """``x`` -> its sine and its cosine."""
    kinds = ("Sin", "Cos")
    graph = helper.make_graph(
        [helper.make_node(kind, ["x"], [kind]) for kind in kinds],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info(kind, TensorProto.FLOAT, ["n"]) for kind in kinds],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    expand_angles(made)
    onnx.checker.check_model(made, full_check=True)
    return made


@pytest.mark.parametrize("most", [0.01, np.pi / 2, np.pi, 30, 1000])
def test_they_are_those_of_float64(most: float) -> None:
    model = both()
    assert not {node.op_type for node in model.graph.node} & {"Sin", "Cos"}
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    edges = np.pi * np.arange(-8, 9) / 2
    x = np.concatenate([np.linspace(-most, most, 20001), edges[np.abs(edges) <= most]])
    angles = x.astype(np.float32)
    found = session.run(None, {"x": angles})
    for values, exact in zip(found, (np.sin, np.cos), strict=True):
        assert np.abs(values - exact(angles.astype(np.float64))).max() < 3e-7


def test_no_graph_of_a_bundle_has_them(small_bundle: Path) -> None:
    graphs = Bundle.open(small_bundle).graphs()
    for role in (DECODER, SCORER):
        model = onnx.load(graphs[role])
        kinds = {node.op_type for node in model.graph.node}
        assert "Floor" in kinds
        assert not kinds & {"Sin", "Cos"}
