"""ONNX: encoder and decoder as two plain graphs of standard operators.

Traced by torch's TorchScript-based exporter: its successor writes opset 18 at least, and turning
that into 17 fails on ``Pad``.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import onnx
import onnxsim
import torch
from onnx.external_data_helper import convert_model_to_external_data

from samdeploy.errors import ExportError, InputError
from samdeploy.graphs import MEANING
from samdeploy.models import Exportable, GraphModule, graph_modules
from samdeploy.session import Availability, ExportOptions, Graph, TensorSpec

#: 17 is the first with LayerNormalization as one operator; it is what current ONNX Runtime,
#: OpenVINO, TensorRT and mobile builds all read. 20 is the last that the tracer knows.
MIN_OPSET, MAX_OPSET = 17, 20

#: A protocol buffer holds 2 GiB at most; larger weights go to a side file (ViT-H).
SIDE_FILE_BYTES = 2**31 - 2**24


class OnnxExporter:
    name: ClassVar[str] = "onnx"
    runtimes: ClassVar[tuple[str, ...]] = ("onnxruntime", "openvino")
    options: ClassVar[frozenset[str]] = frozenset({"opset", "simplify"})

    @classmethod
    def availability(cls) -> Availability:
        return Availability(devices=("any",), version=onnx.__version__)

    def export(self, model: Exportable, folder: Path, options: ExportOptions) -> tuple[Graph, ...]:
        if not MIN_OPSET <= options.opset <= MAX_OPSET:
            raise InputError(
                f"opset={options.opset}; expected {MIN_OPSET} to {MAX_OPSET} for format=onnx."
            )
        return tuple(_export(graph, folder, options) for graph in graph_modules(model).values())


def _export(graph: GraphModule, folder: Path, options: ExportOptions) -> Graph:
    role, inputs, outputs = graph.role, graph.inputs, graph.outputs
    with tempfile.TemporaryDirectory(dir=folder) as work:
        traced = _trace(graph, Path(work), options.opset)
        if options.simplify and traced.ByteSize() < SIDE_FILE_BYTES:
            traced = _simplify(traced, role)
        _describe(traced, role, inputs, outputs, options.metadata)
        files = _save(traced, folder, role)
    onnx.checker.check_model(str(folder / files[0]), full_check=True)
    return Graph(role, files, inputs, outputs, {"opset": options.opset})


def _trace(graph: GraphModule, work: Path, opset: int) -> onnx.ModelProto:
    inputs, outputs = graph.inputs, graph.outputs
    path = work / "traced.onnx"
    dynamic = {spec.name: axes for spec in (*inputs, *outputs) if (axes := _dynamic_axes(spec))}
    with warnings.catch_warnings():
        # The tracer warns that it is the older of two exporters and about slices it cannot fold.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)
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
    simplified, same = onnxsim.simplify(model)
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
            value.doc_string = MEANING[spec.name]
    model.producer_name = "samdeploy"
    model.producer_version = metadata.get("version", "")
    name = metadata.get("architecture", "model")
    model.doc_string = f"{role} of {name}; coordinates are in input pixels."
    onnx.helper.set_model_props(model, {"role": role, **metadata})


def _save(model: onnx.ModelProto, folder: Path, role: str) -> tuple[Path, ...]:
    path = Path(f"{role}.onnx")
    if model.ByteSize() < SIDE_FILE_BYTES:
        onnx.save(model, folder / path)
        return (path,)
    side = Path(f"{role}.onnx.data")
    convert_model_to_external_data(model, location=side.name, size_threshold=1024)
    onnx.save(model, folder / path)
    return path, side
