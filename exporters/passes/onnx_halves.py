"""Constants of an ONNX graph, written so that a converter may round every one of them to float16.

11 bits of mantissa are too few near pixels and coordinates: a mean pixel moves the whole image, and
what turns coordinates into angles of tens of radians moves a point. There a constant becomes the
sum of two, which have 22 bits.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from samdeploy.exporters.passes.onnx_half import near_coordinates_and_pixels
from samdeploy.exporters.passes.onnx_storage import constants_to_weights
from samdeploy.session import Array

_SUMS, _PRODUCTS = ("Add", "Sub"), ("Mul", "MatMul", "Div")


def split_constants(model: onnx.ModelProto) -> None:
    """Change ``model``; what it computes stays the same to a millionth."""
    graph = model.graph
    constants_to_weights(graph)
    weights = {t.name: t for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT}
    near = near_coordinates_and_pixels(graph)
    nodes = list(graph.node)
    del graph.node[:]
    for index, node in enumerate(nodes):
        halves = None
        if index in near and node.op_type in (*_SUMS, *_PRODUCTS) and node.input[1] in weights:
            halves = _halves(node.op_type, weights[node.input[1]])
        graph.node.extend([node] if halves is None else _split(graph, node, *halves))


def _halves(kind: str, constant: onnx.TensorProto) -> tuple[Array, Array] | None:
    """Two numbers for each, or ``None`` where float16 has them all."""
    values = numpy_helper.to_array(constant)
    values = 1 / values if kind == "Div" else values
    high = values.astype(np.float16).astype(np.float32)
    return None if np.array_equal(high, values) else (high, values - high)


def _split(
    graph: onnx.GraphProto, node: onnx.NodeProto, high: Array, low: Array
) -> list[onnx.NodeProto]:
    [x], [result] = node.input[:1], node.output
    names = [f"{result}_high", f"{result}_low"]
    for name, values in zip(names, (high, low), strict=True):
        graph.initializer.append(numpy_helper.from_array(values, f"{name}_constant"))
    kind = {"Div": "Mul"}.get(node.op_type, node.op_type)
    constants = [f"{name}_constant" for name in names]
    if kind in _SUMS:
        return [
            helper.make_node(kind, [x, constants[0]], [names[0]], names[0]),
            helper.make_node(kind, [names[0], constants[1]], [result], node.name),
        ]
    return [
        *(
            helper.make_node(kind, [x, constant], [name], name)
            for name, constant in zip(names, constants, strict=True)
        ),
        helper.make_node("Add", names, [result], node.name),
    ]
