"""OpenVINO's intermediate representation, straight from the torch modules.

Straight from torch and not through ONNX: attention arrives as one operator, which OpenVINO fuses,
where ONNX would have spelled it out as matrix products and a softmax.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import openvino as ov
import torch

from samdeploy.errors import ExportError
from samdeploy.exporters.passes.nncf import quiet_nncf
from samdeploy.exporters.passes.openvino_storage import compress_tables, store_as, store_in_bytes
from samdeploy.exporting.calibration import COUNT, calibration_inputs
from samdeploy.exporting.layer_names import belongs_to
from samdeploy.exporting.options import FloatOptions, KernelOptions, WeightsOnlyOptions
from samdeploy.graphs import ENCODER
from samdeploy.models import GraphModule
from samdeploy.session import Availability, Graph

#: Operators with weights.
_CONVOLUTIONS = ["Convolution", "GroupConvolution"]
_LAYERS = frozenset({"MatMul", *_CONVOLUTIONS})


@dataclass(frozen=True)
class OpenVinoOptions(FloatOptions, WeightsOnlyOptions, KernelOptions):
    """Weights of 16 bits, and those of the encoder of 8; our own kernels."""


class OpenVinoExporter:
    name: ClassVar[str] = "openvino"
    runtimes: ClassVar[tuple[str, ...]] = ("openvino",)
    Options: ClassVar[type[OpenVinoOptions]] = OpenVinoOptions
    tools: ClassVar[tuple[str, ...]] = ("openvino", "nncf")

    @classmethod
    def availability(cls) -> Availability:
        return Availability(devices=("any",), version=ov.__version__)

    def export(self, graph: GraphModule, folder: Path, options: OpenVinoOptions) -> Graph:
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
        compress_tables(converted)
        eight = options.int8 and graph.role == ENCODER
        if eight:
            converted = _to_int8(converted, graph, options)
            if not options.weights_only:
                store_in_bytes(converted, _layers(converted, _CONVOLUTIONS, options, kept=False))
        if options.bf16 or eight:
            # OpenVINO's own compression knows float16 alone and passes 8-bit models by.
            store_as(converted, torch.bfloat16 if options.bf16 else torch.float16)
        ports = (*converted.inputs, *converted.outputs)
        for port, spec in zip(ports, (*graph.inputs, *graph.outputs), strict=True):
            port.get_tensor().set_names({spec.name})
        for name, value in {"role": graph.role, **options.metadata}.items():
            converted.set_rt_info(value, ["samdeploy", name])
        path = Path(f"{graph.role}.xml")
        ov.save_model(converted, folder / path, compress_to_fp16=options.half)
        return Graph(graph.role, (path, path.with_suffix(".bin")), graph.inputs, graph.outputs)


def _to_int8(model: ov.Model, graph: GraphModule, options: OpenVinoOptions) -> ov.Model:
    """Quantised by NNCF: activations of linear layers smoothed and biases corrected, as it does for
    transformers, or the weights of all layers alone."""
    ignored = _layers(model, _LAYERS, options, kept=True)
    with quiet_nncf("int8=True with format=openvino") as nncf:
        if options.weights_only:
            # Otherwise OpenVINO rounds the activations as well where that is faster.
            model.set_rt_info("0", ["runtime_options", "DYNAMIC_QUANTIZATION_GROUP_SIZE"])
            return nncf.compress_weights(
                model,
                mode=nncf.CompressWeightsMode.INT8_SYM,
                ignored_scope=nncf.IgnoredScope(names=ignored, validate=False),
            )
        return nncf.quantize(
            model,
            nncf.Dataset(
                list(calibration_inputs(options.data, graph.image_size, graph.preprocess))
            ),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=COUNT,
            ignored_scope=nncf.IgnoredScope(names=ignored, types=_CONVOLUTIONS, validate=False),
            # Seven bits of weight: x86 without VNNI adds two products in 16 bits, which eight
            # overflow.
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=nncf.OverflowFix.ENABLE
            ),
        )


def _layers(
    model: ov.Model, kinds: Collection[str], options: OpenVinoOptions, *, kept: bool
) -> list[str]:
    """Names of layers of these kinds: those that ``float_layers`` keeps in float, or the others."""
    return [
        node.get_friendly_name()
        for node in model.get_ordered_ops()
        if node.get_type_name() in kinds
        and belongs_to(node.get_friendly_name(), options.float_layers) == kept
    ]
