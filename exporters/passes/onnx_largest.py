"""The largest tensor of an ONNX graph: what a device has to hold in one piece."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import onnx
from onnx import TensorProto, helper, shape_inference

#: Elements of a weight beyond which its values are left out: no shape is computed from so many.
_VALUES = 1024


def largest_tensor(model: onnx.ModelProto, numbers: Mapping[str, int]) -> tuple[str, int]:
    """Name and bytes of the largest tensor between two operators.

    Args:
        numbers: the dynamic dimensions. A tensor whose shape depends on values is not counted.
    """
    return max(
        ((value.name, _bytes(value)) for value in inferred_values(model, numbers)),
        key=lambda found: found[1],
    )


def inferred_values(
    model: onnx.ModelProto, numbers: Mapping[str, int]
) -> Iterator[onnx.ValueInfoProto]:
    """All tensors between two operators and the outputs, with the shapes that follow from
    ``numbers``."""
    light = _without_weights(model)
    for value in light.graph.input:
        for side in value.type.tensor_type.shape.dim:
            if side.dim_param:
                side.dim_value = numbers[side.dim_param]
    del light.graph.output[:]
    light.graph.output.extend(onnx.ValueInfoProto(name=one.name) for one in model.graph.output)
    inferred = shape_inference.infer_shapes(light, data_prop=True).graph
    yield from (*inferred.value_info, *inferred.output)


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph, whose large weights are inputs: shape inference copies the whole file."""
    graph = model.graph
    inputs = [*graph.input]
    small = []
    for tensor in graph.initializer:
        if math.prod(tensor.dims) > _VALUES:
            inputs.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
        else:
            small.append(tensor)
    made = helper.make_graph(graph.node, graph.name, inputs, graph.output, small)
    return helper.make_model(made, opset_imports=model.opset_import, ir_version=model.ir_version)


def _bytes(value: onnx.ValueInfoProto) -> int:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape") or tensor.elem_type == TensorProto.UNDEFINED:
        return 0
    size: int = helper.tensor_dtype_to_np_dtype(tensor.elem_type).itemsize
    shape: list[int] = [side.dim_value for side in tensor.shape.dim]
    return size * math.prod(shape)
