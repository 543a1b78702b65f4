"""ONNX: plain graphs of standard operators."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import onnx

from samdeploy.errors import InputError
from samdeploy.exporters.layouts import find_layout, layout_names
from samdeploy.exporters.passes.onnx_angles import expand_angles
from samdeploy.exporters.passes.onnx_graph import onnx_graph, save_onnx
from samdeploy.exporters.passes.onnx_half import to_half
from samdeploy.exporters.passes.onnx_int8 import quantizable, to_int8
from samdeploy.exporters.passes.onnx_int8_weights import to_int8_weights
from samdeploy.exporters.passes.onnx_largest import largest_tensor
from samdeploy.exporters.passes.onnx_rank import check_rank
from samdeploy.exporters.passes.onnx_storage import constants_to_weights, store_as, store_in_bytes
from samdeploy.exporters.passes.onnx_tables import compress_tables
from samdeploy.exporting.calibration import calibration_inputs
from samdeploy.exporting.options import (
    FloatOptions,
    KernelOptions,
    ProfileOptions,
    WeightsOnlyOptions,
)
from samdeploy.fixed_shapes import record_of, variants
from samdeploy.graphs import ENCODER
from samdeploy.layouts import Layout
from samdeploy.limits import whole
from samdeploy.models import GraphModule
from samdeploy.models.layers import MOST_BYTES
from samdeploy.notices import notice
from samdeploy.options import option
from samdeploy.session import Availability, Graph

#: 17 is the first with LayerNormalization as one operator; it is what current ONNX Runtime,
#: OpenVINO, TensorRT and mobile builds all read. 20 is the last that the tracer knows.
MIN_OPSET, MAX_OPSET = 17, 20


@dataclass(frozen=True)
class OnnxOptions(FloatOptions, WeightsOnlyOptions, ProfileOptions, KernelOptions):
    opset: int = option(17, f"operator set, {MIN_OPSET} to {MAX_OPSET}")
    simplify: bool = option(True, "fold constants and shape arithmetic out of the graphs")
    layout: str = option("", f"files of another tool instead: {', '.join(layout_names())}")

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "opset", whole("opset", self.opset, MIN_OPSET, MAX_OPSET))
        if self.layout:
            find_layout(self.layout)
            if self.kernels:
                raise InputError(f"layout={self.layout} kernels=True; leave one of them out.")
        if self.profile and (self.layout or not self.simplify):
            other = f"layout={self.layout}" if self.layout else "simplify=False"
            raise InputError(f"profile={self.profile} {other}; leave one of them out.")


class OnnxExporter:
    name: ClassVar[str] = "onnx"
    runtimes: ClassVar[tuple[str, ...]] = ("onnxruntime", "openvino")
    Options: ClassVar[type[OnnxOptions]] = OnnxOptions
    tools: ClassVar[tuple[str, ...]] = ("onnx", "onnxsim", "onnxruntime")

    @classmethod
    def availability(cls) -> Availability:
        return Availability(devices=("any",), version=onnx.__version__)

    @classmethod
    def find_layout(cls, name: str) -> Layout:
        return find_layout(name)

    def export(self, graph: GraphModule, folder: Path, options: OnnxOptions) -> Graph:
        written = [graph]
        facts: dict[str, Any] = {"opset": options.opset}
        if options.profile:
            shapes = variants(graph.role, graph.inputs, options.max_prompts, options.max_points)
            written = [graph.fixed(name, *numbers) for name, numbers in shapes.items()]
            facts |= record_of(graph.inputs, shapes)
        files: list[Path] = []
        largest = 0
        for each in written:
            model = _model(each, folder, options)
            if options.profile:
                check_rank(model, each.role)
            files += save_onnx(model, folder, each.role)
            onnx.checker.check_model(str(folder / f"{each.role}.onnx"), full_check=True)
            largest = max(largest, _largest(model, each))
        facts["largest_tensor"] = largest
        return Graph(graph.role, tuple(files), graph.inputs, graph.outputs, facts)


def _model(graph: GraphModule, folder: Path, options: OnnxOptions) -> onnx.ModelProto:
    model = _in_precision(graph, folder, options)
    expand_angles(model)  # at last: until then sines tell what 16 bits are too coarse for
    return model


def _in_precision(graph: GraphModule, folder: Path, options: OnnxOptions) -> onnx.ModelProto:
    model = onnx_graph(
        graph,
        folder,
        opset=options.opset,
        simplify=options.simplify,
        metadata=options.metadata,
    )
    eight = options.int8 and graph.role == ENCODER
    if eight and options.weights_only:
        model = to_int8_weights(model, options.float_layers)
    elif eight:
        images = calibration_inputs(options.data, graph.image_size, graph.preprocess)
        model = to_int8(model, images, options.float_layers)
        constants_to_weights(model.graph)
        store_in_bytes(model, quantizable(model.graph, options.float_layers, ("Conv",)))
    compress_tables(model)  # not before: NNCF does not know casts of weights
    if options.bf16:
        return store_as(model, onnx.TensorProto.BFLOAT16)
    if eight:
        # The operators around 8-bit layers answer in float32, so that only storage is left.
        return store_as(model, onnx.TensorProto.FLOAT16)
    return to_half(model) if options.half else model


def _largest(model: onnx.ModelProto, graph: GraphModule) -> int:
    """Bytes of the largest tensor, with a notice of one that WebGPU cannot bind."""
    name, size = largest_tensor(model, graph.numbers(1, 2))
    if size > MOST_BYTES:
        notice(
            "tensor '%s' of the %s graph has %d MiB; WebGPU may bind no more than %d in one.",
            name, graph.role, size >> 20, MOST_BYTES >> 20,
        )  # fmt: skip
    return size
