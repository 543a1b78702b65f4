"""Weights of an OpenVINO model in fewer bytes, made into float32 when it is compiled."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any

import openvino as ov
import torch
from openvino import opset13

from samdeploy.exporters.passes.weights import bytes_and_scales, columns_and_index, is_large, narrow


def store_as(model: ov.Model, kind: torch.dtype) -> None:
    """Change ``model``: its large weights become ``torch.float16`` or ``torch.bfloat16``.

    What OpenVINO's own compression to float16 does, for bfloat16 as well and beside 8-bit weights.
    """
    for node in _float_constants(model):
        if is_large(node.shape):
            kept = ov.Tensor(_TYPES[kind], node.shape)  # owns its memory, as no view of NumPy does
            kept.copy_from(ov.Tensor(narrow(node.data, kind), node.shape, _TYPES[kind]))
            stored = ov.op.Constant(kept)
            stored.set_friendly_name(f"{node.get_friendly_name()}_stored")
            _replace(node, opset13.convert(stored, "f32"))


def store_in_bytes(model: ov.Model, layers: Collection[str]) -> None:
    """Change ``model``: the weights of these convolutions become int8 and scales."""
    for layer in [node for node in model.get_ops() if node.get_friendly_name() in layers]:
        weight = layer.input_value(1).get_node()
        if weight.get_type_name() == "Constant" and is_large(weight.shape):
            values, scales = (opset13.constant(part) for part in bytes_and_scales(weight.data))
            _replace(weight, opset13.multiply(opset13.convert(values, "f32"), scales))


def compress_tables(model: ov.Model) -> None:
    """Change ``model``: tables of attention biases become their columns and an index of bytes."""
    for node in _float_constants(model):
        parts = columns_and_index(node.shape, partial(getattr, node, "data"))
        if parts is not None:
            columns, index = (opset13.constant(part) for part in parts)
            places = opset13.convert(index, "i32")
            _replace(node, opset13.gather(columns, places, opset13.constant(-1)))


def _float_constants(model: ov.Model) -> list[Any]:
    return [
        node
        for node in model.get_ordered_ops()
        if node.get_type_name() == "Constant" and node.get_element_type() == ov.Type.f32
    ]


def _replace(node: Any, other: Any) -> None:
    for reader in node.output(0).get_target_inputs():
        reader.replace_source_output(other.output(0))


_TYPES = {torch.float16: ov.Type.f16, torch.bfloat16: ov.Type.bf16}
