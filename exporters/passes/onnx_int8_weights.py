"""A float32 ONNX graph whose layers have 8-bit weights and compute in float, by NNCF.

Linear layers and convolutions get one scale per output channel, by which their weights are
multiplied when the graph is loaded; nothing else changes and nothing is calibrated. All eight bits
are used: there are no 8-bit products that could overflow.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
from onnx import numpy_helper

from samdeploy.exporters.passes.nncf import quiet_nncf
from samdeploy.exporters.passes.onnx_int8 import LINEAR, quantizable
from samdeploy.exporters.passes.onnx_storage import constants_to_weights, widen_bytes


def to_int8_weights(model: onnx.ModelProto, float_layers: Collection[str] = ()) -> onnx.ModelProto:
    """A copy of ``model`` with 8-bit weights.

    Args:
        float_layers: module paths of layers that stay float32.

    Raises:
        RuntimeUnavailableError: NNCF is not installed.
    """
    prepared = onnx.ModelProto()
    prepared.CopyFrom(model)
    graph = prepared.graph
    constants_to_weights(graph)
    layers = set(quantizable(graph, float_layers, (*LINEAR, "Conv")))
    others = [node.name for node in graph.node if node.name not in layers]
    if len(others) == len(graph.node):
        return model
    with quiet_nncf("weights_only=True with format=onnx") as nncf, _side_file(prepared) as folder:
        result: onnx.ModelProto = nncf.compress_weights(
            prepared,
            mode=nncf.CompressWeightsMode.INT8_SYM,
            ignored_scope=nncf.IgnoredScope(names=others, validate=False),
            advanced_parameters=nncf.AdvancedCompressionParameters(
                backend_params={"external_data_dir": str(folder)}
            ),
        )
    _widen_when_loaded(result.graph)
    return result


@contextmanager
def _side_file(model: onnx.ModelProto) -> Iterator[Path]:
    """A folder with the weights of ``model`` in a file, which is how NNCF takes those of more than
    2 GiB."""
    with tempfile.TemporaryDirectory() as work:
        path = Path(work).resolve() / "graph.onnx"
        onnx.save(model, path, save_as_external_data=True, location="weights")
        model.CopyFrom(onnx.load(path, load_external_data=False))
        yield path.parent


def _widen_when_loaded(graph: onnx.GraphProto) -> None:
    """Take the place of NNCF's ``DequantizeLinear``, see :func:`widen_bytes`."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "DequantizeLinear"]:
        weight, scales = tensors[node.input[0]], tensors[node.input[1]]
        axis = next(a.i for a in node.attribute if a.name == "axis")
        sides = [1] * len(weight.dims)
        sides[axis] = -1
        values = numpy_helper.to_array(scales).reshape(sides)
        scales.CopyFrom(numpy_helper.from_array(values, scales.name))
        graph.node.remove(node)
        widen_bytes(graph, weight.name, scales.name, node.output[0])
