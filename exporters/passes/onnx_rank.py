"""Accelerators of phones and boards know tensors of four dimensions and no more."""

from __future__ import annotations

import onnx

from samdeploy.errors import ExportError
from samdeploy.exporters.passes.onnx_largest import inferred_values

MOST_RANK = 4


def check_rank(model: onnx.ModelProto, role: str) -> None:
    """Compare every tensor of a graph of fixed shapes with :data:`MOST_RANK`.

    Raises:
        ExportError: one has more dimensions, or a shape that depends on data.
    """
    for value in inferred_values(model, {}):
        tensor = value.type.tensor_type
        sides = [side.dim_value for side in tensor.shape.dim]
        if not tensor.HasField("shape") or len(sides) > MOST_RANK or not all(sides):
            raise ExportError(
                f"tensor '{value.name}' of the {role} graph has shape {sides}; profile=npu takes "
                f"{MOST_RANK} dimensions at most, all of them numbers."
            )
