"""A float32 ONNX graph in float16, with float32 where float16 overflows or is too coarse.

Written for builders of *strongly typed* networks, which compute every operator in exactly the type
that the graph gives it: the casts inserted here are the whole precision policy. Inputs and outputs
stay float32.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

#: Sums of many terms and exponentials.
_FLOAT32 = frozenset(
    {"LayerNormalization", "Softmax", "ReduceMean", "ReduceSum", "Pow", "Sqrt", "Exp", "Sin", "Cos"}
)
#: At 1024 pixels float16 knows no fraction, so what prepares an angle stays float32 as well...
_ANGLES = frozenset({"Sin", "Cos"})
#: ...and so does arithmetic directly on an input, such as normalising pixels.
_ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div"})


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of ``model`` with casts and float16 weights."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    constants_to_weights(result.graph)
    writer = _Writer(result)
    kept = _float32_nodes(result.graph)
    for index, node in enumerate(result.graph.node):
        writer.add(node, TensorProto.FLOAT if index in kept else TensorProto.FLOAT16)
    for output in result.graph.output:
        writer.restore(output.name)
    nodes, weights = writer.nodes, writer.used_weights()
    del result.graph.node[:], result.graph.value_info[:], result.graph.initializer[:]
    result.graph.node.extend(nodes)
    result.graph.initializer.extend(weights)
    return result


class _Writer:
    """Nodes one by one in a given type, with casts where types meet."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._floats = _float_tensors(model)
        self._outputs = {value.name for value in model.graph.output}
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self._half_weights: dict[str, onnx.TensorProto] = {}
        inputs = {value.name for value in model.graph.input}
        # What each float tensor is called in either type, as far as it is there.
        self._names: dict[int, dict[str, str]] = {
            TensorProto.FLOAT: {name: name for name in (*inputs, *self._weights)},
            TensorProto.FLOAT16: {},
        }

    def add(self, original: onnx.NodeProto, kind: int) -> None:
        node = onnx.NodeProto()
        node.CopyFrom(original)
        half = kind == TensorProto.FLOAT16
        for place, name in enumerate(node.input):
            if name in self._floats:
                node.input[place] = self._in_type(name, kind)
        for place, name in enumerate(node.output):
            if name in self._floats:
                # The name of an output of the graph is that of its float32 form.
                node.output[place] = f"{name}_half" if half and name in self._outputs else name
                self._names[kind][name] = node.output[place]
        for attribute in node.attribute:
            if half and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
            if half and node.op_type == "ConstantOfShape":
                filling = numpy_helper.to_array(attribute.t).astype(np.float16)
                attribute.t.CopyFrom(numpy_helper.from_array(filling))
        self.nodes.append(node)

    def restore(self, output: str) -> None:
        if self._names[TensorProto.FLOAT].get(output) != output:
            self._cast(self._names[TensorProto.FLOAT16][output], output, TensorProto.FLOAT)

    def used_weights(self) -> list[onnx.TensorProto]:
        used = {name for node in self.nodes for name in node.input}
        return [
            tensor
            for tensor in (*self._weights.values(), *self._half_weights.values())
            if tensor.name in used
        ]

    def _in_type(self, name: str, kind: int) -> str:
        """The tensor ``name`` in a type; the first time it is cast, or the weight converted."""
        known = self._names[kind]
        if name not in known:
            half = kind == TensorProto.FLOAT16
            known[name] = f"{name}_{'half' if half else 'float'}"
            if name in self._weights:
                values = numpy_helper.to_array(self._weights[name]).astype(np.float16)
                self._half_weights[name] = numpy_helper.from_array(values, known[name])
            else:
                other = self._names[TensorProto.FLOAT if half else TensorProto.FLOAT16]
                self._cast(other[name], known[name], kind)
        return known[name]

    def _cast(self, source: str, target: str, kind: int) -> None:
        self.nodes.append(helper.make_node("Cast", [source], [target], f"{target}_cast", to=kind))


def constants_to_weights(graph: onnx.GraphProto) -> None:
    """A constant may be wanted in both types, as weights are."""
    constants = [node for node in graph.node if node.op_type == "Constant"]
    for node in constants:
        tensor = node.attribute[0].t
        tensor.name = node.output[0]
        graph.initializer.append(tensor)
        graph.node.remove(node)


def _float_tensors(model: onnx.ModelProto) -> set[str]:
    """Names of all float32 tensors of a graph."""
    inferred = onnx.shape_inference.infer_shapes(_without_large_weights(model)).graph
    values = (*inferred.input, *inferred.output, *inferred.value_info)
    return {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT} | {
        t.name for t in inferred.initializer if t.data_type == TensorProto.FLOAT
    }


def _without_large_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """For shape inference, which takes 2 GiB at most and reads only small constants."""
    light = onnx.ModelProto()
    light.CopyFrom(model)
    for tensor in light.graph.initializer:
        if len(tensor.raw_data) > 1024:
            tensor.ClearField("raw_data")
    return light


def _float32_nodes(graph: onnx.GraphProto) -> set[int]:
    """Indices of the nodes that stay float32."""
    inputs = {value.name for value in graph.input}
    kept: set[int] = set()
    direct, angles = set(inputs), set[str]()
    for index, node in enumerate(graph.node):
        if node.op_type in _ARITHMETIC and direct.intersection(node.input):
            direct.update(node.output)
            kept.add(index)
        elif node.op_type in _FLOAT32:
            kept.add(index)
    for index, node in reversed(list(enumerate(graph.node))):
        if node.op_type in _ANGLES or angles.intersection(node.output):
            angles.update(node.input)
            kept.add(index)
    return kept
