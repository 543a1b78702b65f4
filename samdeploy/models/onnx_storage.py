"""An ONNX graph whose large weights are stored in 16 bits and cast to float32 when it is loaded.

The file halves; range and arithmetic stay those of float32. It is what ``bf16`` means in ONNX,
because ONNX Runtime has next to no bfloat16 operators on CPUs, and what becomes of the float
weights of an 8-bit encoder.
"""

from __future__ import annotations

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from samdeploy.models.storage import is_large, narrow

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
