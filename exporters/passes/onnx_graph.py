"""A graph module as an ONNX model: what the ONNX exporter writes and others build from.

Traced by torch's TorchScript-based exporter: its successor writes opset 18 at least, and turning
that into 17 fails on ``Pad``.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
import onnxsim
import torch
from onnx.external_data_helper import convert_model_to_external_data

from samdeploy.errors import ExportError
from samdeploy.exporters.passes.onnx_narrow import narrow
from samdeploy.families import meaning
from samdeploy.models import GraphModule
from samdeploy.session import TensorSpec

#: A protocol buffer holds 2 GiB at most; larger weights go to a side file (ViT-H).
SIDE_FILE_BYTES = 2**31 - 2**24

#: The first would move the factor 0.5 of a GELU into the convolution behind, and ONNX Runtime would
#: not recognise the GELU any more; the second would join what is joined in steps for WebGPU.
_SKIPPED = ["fuse_preceding_mul_into_conv", "fuse_consecutive_concats"]


def onnx_graph(
    graph: GraphModule,
    folder: Path,
    *,
    opset: int = 17,
    simplify: bool = True,
    metadata: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """Trace ``graph``; ``simplify`` folds constants and shape arithmetic. ``folder`` takes the
    tracer's file, which may have gigabytes, for as long as this takes.

    Raises:
        ExportError: the tracer failed, simplifying changed what the graph computes, or an operator
            is too wide (:mod:`samdeploy.exporters.passes.onnx_narrow`).
    """
    traced = _traced(graph, folder, opset, simplify)
    narrow(traced, graph.role)
    _describe(traced, graph.role, graph.inputs, graph.outputs, metadata or {})
    return traced


def save_onnx(model: onnx.ModelProto, folder: Path, role: str) -> tuple[Path, ...]:
    """Write ``<role>.onnx``, and its side file where the weights need one; paths are relative."""
    path = Path(f"{role}.onnx")
    if model.ByteSize() < SIDE_FILE_BYTES:
        onnx.save(model, folder / path)
        return (path,)
    side = Path(f"{role}.onnx.data")
    convert_model_to_external_data(model, location=side.name, size_threshold=1024)
    onnx.save(model, folder / path)
    return path, side


def _traced(graph: GraphModule, folder: Path, opset: int, simplify: bool) -> onnx.ModelProto:
    model = _trace(graph, folder, opset)
    if simplify and model.ByteSize() < SIDE_FILE_BYTES:
        model = _simplify(model, graph.role)
    return model


def _trace(graph: GraphModule, folder: Path, opset: int) -> onnx.ModelProto:
    inputs, outputs = graph.inputs, graph.outputs
    dynamic = {spec.name: axes for spec in (*inputs, *outputs) if (axes := _dynamic_axes(spec))}
    with tempfile.TemporaryDirectory(dir=folder) as work, warnings.catch_warnings():
        # The tracer warns that it is the older of two exporters and about slices it cannot fold.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)
        path = Path(work) / "traced.onnx"
        try:
            torch.onnx.export(
                graph.module,
                graph.example(),
                path,
                dynamo=False,
                opset_version=opset,
                input_names=[spec.name for spec in inputs],
                output_names=[spec.name for spec in outputs],
                dynamic_axes=dynamic,
            )
        except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
            raise ExportError(f"torch could not trace the model to ONNX: {error}") from error
        return onnx.load(path)


def _dynamic_axes(spec: TensorSpec) -> dict[int, str]:
    return {axis: side for axis, side in enumerate(spec.shape) if isinstance(side, str)}


def _simplify(model: onnx.ModelProto, role: str) -> onnx.ModelProto:
    # Folds shape arithmetic and constants; batch norms disappear into their convolutions.
    simplified, same = onnxsim.simplify(model, skipped_optimizers=_SKIPPED)
    if not same:
        raise ExportError(
            f"onnxsim changed what the {role} graph computes; export with simplify=False."
        )
    result: onnx.ModelProto = simplified
    return result


def _describe(
    model: onnx.ModelProto,
    role: str,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    metadata: Mapping[str, str],
) -> None:
    """Names of dimensions, documentation and metadata, for whoever opens the file alone."""
    graph = model.graph
    graph.name = role
    for values, specs in ((graph.input, inputs), (graph.output, outputs)):
        for value in values:
            spec = next(spec for spec in specs if spec.name == value.name)
            made = onnx.helper.make_tensor_value_info(
                spec.name, onnx.TensorProto.FLOAT, list(spec.shape)
            )
            value.type.CopyFrom(made.type)
            value.doc_string = meaning(spec.name)
    model.producer_name = "samdeploy"
    model.producer_version = metadata.get("version", "")
    name = metadata.get("architecture", "model")
    model.doc_string = f"{role} of {name}; coordinates are in input pixels."
    onnx.helper.set_model_props(model, {"role": role, **metadata})
