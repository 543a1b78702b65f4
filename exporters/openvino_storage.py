"""Large weights of an OpenVINO model in 16 bits, converted to float32 when it is compiled.

What OpenVINO's own compression to float16 does, for bfloat16 as well and beside 8-bit weights.
"""

from __future__ import annotations

import openvino as ov
import torch
from openvino import opset13

from samdeploy.models.storage import is_large, narrow


def store_as(model: ov.Model, kind: torch.dtype) -> None:
    """Change ``model``: its large weights become ``torch.float16`` or ``torch.bfloat16``."""
    for node in model.get_ordered_ops():
        if (
            node.get_type_name() == "Constant"
            and node.get_element_type() == ov.Type.f32
            and is_large(node.shape)
        ):
            kept = ov.Tensor(_TYPES[kind], node.shape)  # owns its memory, as no view of NumPy does
            kept.copy_from(ov.Tensor(narrow(node.data, kind), node.shape, _TYPES[kind]))
            stored = ov.op.Constant(kept)
            stored.set_friendly_name(f"{node.get_friendly_name()}_stored")
            widened = opset13.convert(stored, "f32").output(0)
            for reader in node.output(0).get_target_inputs():
                reader.replace_source_output(widened)


_TYPES = {torch.float16: ov.Type.f16, torch.bfloat16: ov.Type.bf16}
