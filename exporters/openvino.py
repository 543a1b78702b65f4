"""OpenVINO's intermediate representation, straight from the torch modules.

Straight from torch and not through ONNX: attention arrives as one operator, which OpenVINO fuses,
where ONNX would have spelled it out as matrix products and a softmax.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, ClassVar

import openvino as ov
import torch
from openvino import opset13

from samdeploy.calibration import COUNT, calibration_inputs
from samdeploy.errors import ExportError
from samdeploy.graphs import ENCODER
from samdeploy.layer_names import belongs_to
from samdeploy.models import Exportable, GraphModule, graph_modules
from samdeploy.models.storage import is_large, narrow
from samdeploy.nncf_library import quiet_nncf
from samdeploy.session import Availability, ExportOptions, Graph

#: Operators with weights.
_LAYERS = frozenset({"MatMul", "Convolution", "GroupConvolution"})


class OpenVinoExporter:
    name: ClassVar[str] = "openvino"
    runtimes: ClassVar[tuple[str, ...]] = ("openvino",)
    options: ClassVar[frozenset[str]] = frozenset(
        {"half", "bf16", "int8", "weights_only", "data", "float_layers"}
    )

    @classmethod
    def availability(cls) -> Availability:
        return Availability(devices=("any",), version=ov.__version__)

    def export(self, model: Exportable, folder: Path, options: ExportOptions) -> tuple[Graph, ...]:
        return tuple(_export(graph, folder, options) for graph in graph_modules(model).values())


def _export(graph: GraphModule, folder: Path, options: ExportOptions) -> Graph:
    example = graph.example()
    shapes: list[Any] = [
        (spec.name, [-1 if isinstance(side, str) else side for side in spec.shape])
        for spec in graph.inputs
    ]
    try:
        with warnings.catch_warnings():
            # OpenVINO traces with torch.jit, which torch has announced to retire.
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            # Traced here: OpenVINO would check the trace by running the module again.
            with torch.no_grad():
                trace: Any = torch.jit.trace
                traced = trace(graph.module, example, check_trace=False)
            converted = ov.convert_model(traced, example_input=example, input=shapes)
    except Exception as error:  # the frontend raises a family of unrelated types
        raise ExportError(f"OpenVINO could not convert the {graph.role}: {error}") from error
    eight = options.int8 and graph.role == ENCODER
    if eight:
        converted = _to_int8(converted, graph, options)
    if options.bf16 or (options.half and eight):
        # OpenVINO's own compression knows float16 alone, and passes by models with 8-bit weights.
        _store_as(converted, torch.bfloat16 if options.bf16 else torch.float16)
    ports = (*converted.inputs, *converted.outputs)
    for port, spec in zip(ports, (*graph.inputs, *graph.outputs), strict=True):
        port.get_tensor().set_names({spec.name})
    for name, value in {"role": graph.role, **options.metadata}.items():
        converted.set_rt_info(value, ["samdeploy", name])
    path = Path(f"{graph.role}.xml")
    ov.save_model(converted, folder / path, compress_to_fp16=options.half)
    return Graph(graph.role, (path, path.with_suffix(".bin")), graph.inputs, graph.outputs)


def _to_int8(model: ov.Model, graph: GraphModule, options: ExportOptions) -> ov.Model:
    """Quantised by NNCF: activations smoothed and biases corrected, as it does for transformers,
    or the weights alone."""
    ignored = [
        node.get_friendly_name()
        for node in model.get_ordered_ops()
        if node.get_type_name() in _LAYERS
        and belongs_to(node.get_friendly_name(), options.float_layers)
    ]
    with quiet_nncf("int8=True with format=openvino") as nncf:
        scope = nncf.IgnoredScope(names=ignored) if ignored else None
        if options.weights_only:
            # Otherwise OpenVINO rounds the activations as well where that is faster.
            model.set_rt_info("0", ["runtime_options", "DYNAMIC_QUANTIZATION_GROUP_SIZE"])
            return nncf.compress_weights(
                model, mode=nncf.CompressWeightsMode.INT8_SYM, ignored_scope=scope
            )
        return nncf.quantize(
            model,
            nncf.Dataset(list(calibration_inputs(options.data, graph.image_size))),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=COUNT,
            ignored_scope=scope,
            # Seven bits of weight: x86 without VNNI adds two products in 16 bits, which eight
            # overflow.
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=nncf.OverflowFix.ENABLE
            ),
        )


def _store_as(model: ov.Model, kind: torch.dtype) -> None:
    """Large weights of ``model`` in 16 bits, converted to float32 when it is compiled: what
    OpenVINO's own compression does, for bfloat16 as well."""
    for node in model.get_ordered_ops():
        if (
            node.get_type_name() == "Constant"
            and node.get_element_type() == ov.Type.f32
            and is_large(node.shape)
        ):
            bits = narrow(node.data, kind)
            # A constant keeps the memory of a tensor, but not of the array behind one: copy it.
            own = ov.Tensor(_TYPES[kind], node.shape)
            own.copy_from(ov.Tensor(bits, node.shape, _TYPES[kind]))
            stored = ov.op.Constant(own)
            stored.set_friendly_name(f"{node.get_friendly_name()}_stored")
            widened = opset13.convert(stored, "f32").output(0)
            for reader in node.output(0).get_target_inputs():
                reader.replace_source_output(widened)


_TYPES = {torch.float16: ov.Type.f16, torch.bfloat16: ov.Type.bf16}
