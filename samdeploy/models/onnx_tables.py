"""Tables of attention biases in an ONNX graph, stored as what they were made from.

TinyViT adds to its attention a table ``[heads, N, N]`` that has one value for each absolute offset
between two of the ``N`` places: a few hundred different columns, spelled out 38,000 times. Traced,
these tables are a quarter of the file and more. Columns and an index of bytes give the same values;
runtimes put them together when they load the graph.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from samdeploy.models.onnx_half import constants_to_weights

#: Smaller tables are not worth three operators.
_LEAST_BYTES = 1 << 14
_MOST_COLUMNS = 256  # what a byte can tell apart


def compress_tables(model: onnx.ModelProto) -> None:
    """Replace the tables of ``model`` in place; what they contain stays the same to the bit."""
    graph = model.graph
    constants_to_weights(graph)
    weights, nodes = list(graph.initializer), list(graph.node)
    made: list[onnx.NodeProto] = []
    kept: list[onnx.TensorProto] = []
    places: dict[bytes, str] = {}  # name of an index, by what it contains
    for tensor in weights:
        parts = _parts(tensor)
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
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend([*made, *nodes])


def _parts(tensor: onnx.TensorProto) -> tuple[NDArray[Any], NDArray[np.uint8]] | None:
    """Columns ``[..., heads, U]`` and the index ``[N, N]`` of a table that has few of them."""
    shape = tuple(tensor.dims)
    if len(shape) < 3 or shape[-1] != shape[-2] or len(tensor.raw_data) < _LEAST_BYTES:
        return None
    values = numpy_helper.to_array(tensor).reshape(-1, shape[-1] ** 2)
    _, first, index = np.unique(values, axis=1, return_index=True, return_inverse=True)
    if len(first) > min(_MOST_COLUMNS, values.shape[1] // 4):
        return None
    # In the order of their first places, tables of one window size have the same index.
    order = np.argsort(first)
    columns, index = values[:, first[order]], np.argsort(order)[index]
    return columns.reshape(*shape[:-2], -1), index.reshape(shape[-2:]).astype(np.uint8)
