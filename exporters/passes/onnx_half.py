"""A float32 ONNX graph in 16 bits, with float32 where they overflow or are too coarse.

Written for builders of *strongly typed* networks, which compute every operator in exactly the type
that the graph gives it: the casts inserted here are the whole precision policy. Inputs and outputs
stay float32. The 16 bits are float16, or bfloat16, which has the range of float32 and a coarser
mantissa: it needs float32 in the same places.
"""

from __future__ import annotations

from collections.abc import Collection, Set

import onnx
from onnx import TensorProto, helper

from samdeploy.exporters.passes.onnx_storage import constants_to_weights, narrowed

#: Sums of many terms and exponentials.
_FLOAT32 = frozenset(
    {"LayerNormalization", "Softmax", "ReduceMean", "ReduceSum", "Pow", "Sqrt", "Exp", "Sin", "Cos"}
)
#: TensorRT-RTX 1.7 builds no deconvolutions in bfloat16.
_FLOAT32_BESIDE: dict[int, Set[str]] = {
    TensorProto.FLOAT16: frozenset(),
    TensorProto.BFLOAT16: {"ConvTranspose"},
}
#: At 1024 pixels float16 knows no fraction, so what prepares an angle stays float32 as well...
_ANGLES = frozenset({"Sin", "Cos"})
#: ...and so does arithmetic directly on an input, such as normalising pixels.
_ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div"})
#: Inputs that the standard knows in float32 alone, by their places: the factors of a resize.
_FLOAT32_INPUTS = {"Resize": (1, 2)}


def to_half(model: onnx.ModelProto, short: int = TensorProto.FLOAT16) -> onnx.ModelProto:
    """A copy of ``model`` with casts and 16-bit weights.

    Args:
        short: the 16 bits, ``FLOAT16`` or ``BFLOAT16`` of ``TensorProto``. The latter is more than
            the standard allows convolutions of our operator sets; TensorRT knows better.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    constants_to_weights(result.graph)
    writer = _Writer(result, short)
    kept = _float32_nodes(result.graph, _FLOAT32 | _FLOAT32_BESIDE[short])
    for index, node in enumerate(result.graph.node):
        writer.add(node, TensorProto.FLOAT if index in kept else short)
    for output in result.graph.output:
        writer.restore(output.name)
    nodes, weights = writer.nodes, writer.used_weights()
    del result.graph.node[:], result.graph.value_info[:], result.graph.initializer[:]
    result.graph.node.extend(nodes)
    result.graph.initializer.extend(weights)
    return result


class _Writer:
    """Nodes one by one in a given type, with casts where types meet."""

    def __init__(self, model: onnx.ModelProto, short: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._short = short
        self._floats = _float_tensors(model)
        self._outputs = {value.name for value in model.graph.output}
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self._short_weights: dict[str, onnx.TensorProto] = {}
        inputs = {value.name for value in model.graph.input}
        # What each float tensor is called in either type, as far as it is there.
        self._names: dict[int, dict[str, str]] = {
            TensorProto.FLOAT: {name: name for name in (*inputs, *self._weights)},
            short: {},
        }

    def add(self, original: onnx.NodeProto, kind: int) -> None:
        node = onnx.NodeProto()
        node.CopyFrom(original)
        short = kind == self._short
        for place, name in enumerate(node.input):
            if name in self._floats:
                fixed = place in _FLOAT32_INPUTS.get(node.op_type, ())
                node.input[place] = self._in_type(name, TensorProto.FLOAT if fixed else kind)
        for place, name in enumerate(node.output):
            if name in self._floats:
                # The name of an output of the graph is that of its float32 form.
                node.output[place] = f"{name}_short" if short and name in self._outputs else name
                self._names[kind][name] = node.output[place]
        for attribute in node.attribute:
            if short and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = kind
            if short and node.op_type == "ConstantOfShape":
                attribute.t.CopyFrom(narrowed(attribute.t, kind, attribute.t.name))
        self.nodes.append(node)

    def restore(self, output: str) -> None:
        if self._names[TensorProto.FLOAT].get(output) != output:
            self._cast(self._names[self._short][output], output, TensorProto.FLOAT)

    def used_weights(self) -> list[onnx.TensorProto]:
        used = {name for node in self.nodes for name in node.input}
        return [
            tensor
            for tensor in (*self._weights.values(), *self._short_weights.values())
            if tensor.name in used
        ]

    def _in_type(self, name: str, kind: int) -> str:
        """The tensor ``name`` in a type; the first time it is cast, or the weight converted."""
        known = self._names[kind]
        if name not in known:
            short = kind == self._short
            known[name] = f"{name}_{'short' if short else 'float'}"
            if name in self._weights:
                self._short_weights[name] = narrowed(self._weights[name], kind, known[name])
            else:
                other = self._names[TensorProto.FLOAT if short else self._short]
                self._cast(other[name], known[name], kind)
        return known[name]

    def _cast(self, source: str, target: str, kind: int) -> None:
        self.nodes.append(helper.make_node("Cast", [source], [target], f"{target}_cast", to=kind))


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


def _float32_nodes(graph: onnx.GraphProto, operators: Collection[str]) -> set[int]:
    """Indices of the nodes that stay float32: those of ``operators``, and what is near coordinates
    and pixels."""
    named = {index for index, node in enumerate(graph.node) if node.op_type in operators}
    return named | near_coordinates_and_pixels(graph)


def near_coordinates_and_pixels(graph: onnx.GraphProto) -> set[int]:
    """Indices of the nodes whose rounding would move a point or all colours: arithmetic directly on
    inputs, and what leads to angles."""
    inputs = {value.name for value in graph.input}
    kept: set[int] = set()
    direct, angles = set(inputs), set[str]()
    for index, node in enumerate(graph.node):
        if node.op_type in _ARITHMETIC and direct.intersection(node.input):
            direct.update(node.output)
            kept.add(index)
    for index, node in reversed(list(enumerate(graph.node))):
        if node.op_type in _ANGLES or angles.intersection(node.output):
            angles.update(node.input)
            kept.add(index)
    return kept
