"""GELUs of an ONNX graph with three dimensions, as Qualcomm's NPUs compute them best.

One of four joins the convolution before it, also over a sum, and is several times as coarse there
as float16, and too high on average: it cost the shipped model more than all other rounding.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from samdeploy.exporters.passes.onnx_largest import inferred_values

#: The first with GELU as one operator.
OPSET = 20

_RANK = 3


def flatten_gelus(model: onnx.ModelProto) -> None:
    """Change ``model``, of opset :data:`OPSET` and fixed shapes; it computes what it did."""
    graph = model.graph
    shapes = {
        value.name: [side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in inferred_values(model, {})
    }
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        name = node.output[0]
        shape = shapes.get(name, [])
        if node.op_type != "Gelu" or len(shape) <= _RANK:
            graph.node.append(node)
            continue
        flat = [*shape[: _RANK - 1], -1]
        graph.node.append(_reshape(graph, node.input[0], f"{name}_before", flat))
        node.input[0], node.output[0] = f"{name}_before", f"{name}_flat"
        graph.node.append(node)
        graph.node.append(_reshape(graph, f"{name}_flat", name, shape))


def _reshape(graph: onnx.GraphProto, x: str, result: str, shape: list[int]) -> onnx.NodeProto:
    constant = numpy_helper.from_array(np.array(shape, np.int64), f"{result}_shape")
    graph.initializer.append(constant)
    return helper.make_node("Reshape", [x, constant.name], [result], f"{result}_reshape")
