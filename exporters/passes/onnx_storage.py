"""An ONNX graph whose large weights are stored in 16 bits or 8 and made into float32 when it is
loaded.

The file shrinks; arithmetic stays that of float32. 16 bits are what ``bf16`` means in ONNX, because
ONNX Runtime has next to no bfloat16 operators on CPUs, and what becomes of the float weights of an
8-bit encoder, whose convolutions are stored in 8.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from samdeploy.exporters.passes.weights import bytes_and_scales, is_large, narrow

_FLOAT = TensorProto.FLOAT
_KINDS: dict[int, torch.dtype] = {
    TensorProto.FLOAT16: torch.float16,
    TensorProto.BFLOAT16: torch.bfloat16,
}


def store_as(model: onnx.ModelProto, kind: int) -> onnx.ModelProto:
    """A copy of ``model`` with large weights in ``kind``: ``FLOAT16`` or ``BFLOAT16`` of
    ``TensorProto``."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    constants_to_weights(graph)
    for tensor in graph.initializer:
        if tensor.data_type == _FLOAT and is_large(tensor.dims):
            name = tensor.name
            tensor.CopyFrom(narrowed(tensor, kind, f"{name}_stored"))
            widen = helper.make_node("Cast", [tensor.name], [name], f"{name}_cast", to=_FLOAT)
            graph.node.insert(0, widen)
    return result


def store_in_bytes(model: onnx.ModelProto, layers: Collection[str]) -> None:
    """Change ``model``: the weights of these convolutions become int8 and scales."""
    graph = model.graph
    weights = {node.input[1] for node in graph.node if node.name in layers}
    for tensor in list(graph.initializer):
        if tensor.name in weights and is_large(tensor.dims):
            name = tensor.name
            values, scales = bytes_and_scales(numpy_helper.to_array(tensor))
            tensor.CopyFrom(numpy_helper.from_array(values, f"{name}_stored"))
            graph.initializer.append(numpy_helper.from_array(scales, f"{name}_scales"))
            widen_bytes(graph, tensor.name, f"{name}_scales", name)


def widen_bytes(graph: onnx.GraphProto, stored: str, scales: str, name: str) -> None:
    """``stored * scales`` as the first operators of ``graph``. A cast and a product, because ONNX
    Runtime computes them when it loads the graph, and ``DequantizeLinear`` in every inference."""
    cast = helper.make_node("Cast", [stored], [f"{name}_float"], f"{name}_cast", to=_FLOAT)
    scale = helper.make_node("Mul", [f"{name}_float", scales], [name], f"{name}_scale")
    graph.node.insert(0, scale)
    graph.node.insert(0, cast)


def narrowed(tensor: onnx.TensorProto, kind: int, name: str) -> onnx.TensorProto:
    """A float32 tensor under another name in ``FLOAT16`` or ``BFLOAT16`` of ``TensorProto``."""
    bits = narrow(numpy_helper.to_array(tensor), _KINDS[kind])
    return helper.make_tensor(name, kind, tensor.dims, bits.tobytes(), raw=True)


def constants_to_weights(graph: onnx.GraphProto) -> None:
    """Constants become weights, so that there is one kind of them: simplifying leaves folded
    convolutions and tables as constants."""
    constants = [node for node in graph.node if node.op_type == "Constant"]
    for node in constants:
        tensor = node.attribute[0].t
        tensor.name = node.output[0]
        graph.initializer.append(tensor)
        graph.node.remove(node)
