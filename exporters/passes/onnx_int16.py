"""A float32 ONNX graph with weights in 8 bits and activations in 16, as Qualcomm's NPUs take it: by
ONNX Runtime's static quantiser with its own settings for QNN.

Everything is quantised but inputs and outputs: these NPUs refuse what is left in float within a
quantised graph. 16 bits keep what 8 cost a transformer (docs/precision.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize
from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config

from samdeploy.exporters.passes.onnx_graph import save_onnx
from samdeploy.exporters.passes.onnx_int8 import PREPARED, Reader
from samdeploy.session import Array


def to_int16(model: onnx.ModelProto, inputs: Iterable[Array], folder: Path) -> onnx.ModelProto:
    """A copy of ``model``, which has GELU as one operator, since the plugin knows it only so where
    it is quantised; ``folder`` takes files for a while.

    Args:
        inputs: what the graph's only input may look like; gives the range of every activation.
    """
    prepared = onnx.ModelProto()
    prepared.CopyFrom(model)
    prepared.metadata_props.add(key=PREPARED[0], value=PREPARED[1])
    source, target = folder / save_onnx(prepared, folder, "float")[0], folder / "int16.onnx"
    settings = get_qnn_qdq_config(
        source,
        Reader(model.graph.input[0].name, inputs),
        activation_type=QuantType.QUInt16,
        # Unsigned: the scale of a layer norm has to be.
        weight_type=QuantType.QUInt8,
        per_channel=True,
    )
    quantize(source, target, settings)
    result = onnx.load(target)
    del result.metadata_props[:]
    result.metadata_props.extend(model.metadata_props)
    return result
