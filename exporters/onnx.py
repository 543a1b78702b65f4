"""ONNX: plain graphs of standard operators."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import onnx

from samdeploy.exporters.layouts import find_layout, layout_names
from samdeploy.exporters.passes.onnx_graph import onnx_graph, save_onnx
from samdeploy.exporters.passes.onnx_half import to_half
from samdeploy.exporters.passes.onnx_int8 import quantizable, to_int8
from samdeploy.exporters.passes.onnx_int8_weights import to_int8_weights
from samdeploy.exporters.passes.onnx_largest import largest_tensor
from samdeploy.exporters.passes.onnx_storage import constants_to_weights, store_as, store_in_bytes
from samdeploy.exporters.passes.onnx_tables import compress_tables
from samdeploy.exporting.calibration import calibration_inputs
from samdeploy.exporting.options import FloatOptions, WeightsOnlyOptions
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
class OnnxOptions(FloatOptions, WeightsOnlyOptions):
    opset: int = option(17, f"operator set, {MIN_OPSET} to {MAX_OPSET}")
    simplify: bool = option(True, "fold constants and shape arithmetic out of the graphs")
    layout: str = option("", f"files of another tool instead: {', '.join(layout_names())}")

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "opset", whole("opset", self.opset, MIN_OPSET, MAX_OPSET))
        if self.layout:
            find_layout(self.layout)


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
            model = store_as(model, onnx.TensorProto.BFLOAT16)
        elif eight:
            # The operators around 8-bit layers answer in float32, so that only storage is left.
            model = store_as(model, onnx.TensorProto.FLOAT16)
        elif options.half:
            model = to_half(model)
        files = save_onnx(model, folder, graph.role)
        onnx.checker.check_model(str(folder / files[0]), full_check=True)
        name, size = largest_tensor(model, graph.numbers(1, 2))
        if size > MOST_BYTES:
            notice(
                "tensor '%s' of the %s graph has %d MiB; WebGPU may bind no more than %d in one.",
                name, graph.role, size >> 20, MOST_BYTES >> 20,
            )  # fmt: skip
        facts = {"opset": options.opset, "largest_tensor": size}
        return Graph(graph.role, files, graph.inputs, graph.outputs, facts)
