"""A float32 ONNX graph with 8-bit layers, by ONNX Runtime's static quantiser.

Linear layers get ``QuantizeLinear`` and ``DequantizeLinear`` before them, weights per output
channel, and answer in float32, because what follows them is float32. Everything else stays
float32: attention's products of activations and with relative positions, and convolutions, which
are little of a transformer's arithmetic but most of the error of 8 bits, and gain no time
(docs/precision.md).
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import onnx
from onnxruntime import quantization

from samdeploy.exporters.passes.onnx_graph import SIDE_FILE_BYTES
from samdeploy.exporting.layer_names import belongs_to
from samdeploy.session import Array

LINEAR = ("Gemm", "MatMul")
_TYPES = quantization.QuantType
#: The quantiser asks for a graph that was simplified first; this is how it knows one.
PREPARED = ("onnx.quant.pre_process", "onnxruntime.quant")


def to_int8(
    model: onnx.ModelProto,
    inputs: Iterable[Array],
    float_layers: Collection[str] = (),
    *,
    symmetric: bool = False,
) -> onnx.ModelProto:
    """A copy of ``model`` with 8-bit linear layers.

    Args:
        inputs: what the graph's only input may look like; gives the range of every activation.
        float_layers: module paths of layers that stay float32.
        symmetric: what TensorRT asks for: ranges around zero, all 8 bits of weight and float
            biases. Processors do better with activations that use the whole range, and x86
            without VNNI needs weights of 7 bits: it adds two products in 16.
    """
    nodes = quantizable(model.graph, float_layers)
    if not nodes:
        return model
    prepared = onnx.ModelProto()
    prepared.CopyFrom(model)
    prepared.metadata_props.add(key=PREPARED[0], value=PREPARED[1])
    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "int8.onnx"
        quantization.quantize_static(
            prepared,
            path,
            Reader(model.graph.input[0].name, inputs),
            quant_format=quantization.QuantFormat.QDQ,
            # The quantiser keeps every input and output of these operators until the end of a run:
            # for ViT-B more than 24 GB with the products of attention, 8 without.
            op_types_to_quantize=sorted({n.op_type for n in model.graph.node if n.name in nodes}),
            nodes_to_quantize=nodes,
            per_channel=True,
            reduce_range=not symmetric,
            activation_type=_TYPES.QInt8 if symmetric else _TYPES.QUInt8,
            weight_type=_TYPES.QInt8,
            use_external_data_format=model.ByteSize() >= SIDE_FILE_BYTES,
            extra_options={
                "OpTypesToExcludeOutputQuantization": list(LINEAR),
                "ActivationSymmetric": symmetric,
                "QuantizeBias": not symmetric,
            },
        )
        result = onnx.load(path)
    for field in ("producer_name", "producer_version", "doc_string"):
        setattr(result, field, getattr(model, field))
    del result.metadata_props[:]
    result.metadata_props.extend(model.metadata_props)
    return result


def quantizable(
    graph: onnx.GraphProto, float_layers: Collection[str], operators: Collection[str] = LINEAR
) -> list[str]:
    """Names of the nodes of ``operators`` that multiply by weights and are not of
    ``float_layers``."""
    # Tables of relative positions have three sides.
    weights = {tensor.name for tensor in graph.initializer if len(tensor.dims) != 3}
    return [
        node.name
        for node in graph.node
        if node.op_type in operators
        and node.input[1] in weights
        # Simplifying renames linear layers, but not their biases.
        and not any(belongs_to(name, float_layers) for name in (node.name, *node.input[1:]))
    ]


class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, name: str, inputs: Iterable[Array]) -> None:
        self._name, self._inputs = name, self._iterate(inputs)

    @staticmethod
    def _iterate(inputs: Iterable[Array]) -> Iterator[Array]:
        yield from inputs

    def get_next(self) -> dict[str, Array] | None:
        array = next(self._inputs, None)
        return None if array is None else {self._name: array}
