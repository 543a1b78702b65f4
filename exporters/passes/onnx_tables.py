"""Tables of attention biases in an ONNX graph, stored as what they were made from: their different
columns, and an index of bytes. Runtimes put them together when they load the graph.
"""

from __future__ import annotations

from functools import partial

import onnx
from onnx import TensorProto, helper, numpy_helper

from samdeploy.exporters.passes.onnx_storage import constants_to_weights
from samdeploy.exporters.passes.weights import columns_and_index


def compress_tables(model: onnx.ModelProto) -> None:
    """Replace the tables of ``model`` in place; what they contain stays the same to the bit."""
    graph = model.graph
    constants_to_weights(graph)
    weights, nodes = list(graph.initializer), list(graph.node)
    made: list[onnx.NodeProto] = []
    kept: list[onnx.TensorProto] = []
    places: dict[bytes, str] = {}  # name of an index, by what it contains
    for tensor in weights:
        parts = columns_and_index(tensor.dims, partial(numpy_helper.to_array, tensor))
        if parts is None:
            kept.append(tensor)
            continue
        columns, index = parts
        name = places.get(index.tobytes())
        if name is None:
            name = places[index.tobytes()] = f"table_places_{len(places)}"
            kept.append(numpy_helper.from_array(index, f"{name}_bytes"))
            made.append(
                helper.make_node("Cast", [f"{name}_bytes"], [name], name, to=TensorProto.INT32)
            )
        stored = f"{tensor.name}_columns"
        kept.append(numpy_helper.from_array(columns, stored))
        made.append(helper.make_node("Gather", [stored, name], [tensor.name], stored, axis=-1))
    if not made:
        return
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend([*made, *nodes])
