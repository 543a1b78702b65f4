"""OpenVINO's intermediate representation, straight from the torch modules.

Straight from torch and not through ONNX: attention arrives as one operator, which OpenVINO fuses,
where ONNX would have spelled it out as matrix products and a softmax.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import openvino as ov
import torch
from torch import nn

from samdeploy.errors import ExportError
from samdeploy.graphs import DECODER, ENCODER, decoder_specs, encoder_specs
from samdeploy.models import Sam, SamDecoder, SamEncoder
from samdeploy.session import Availability, ExportOptions, Graph, TensorSpec


class OpenVinoExporter:
    name: ClassVar[str] = "openvino"
    runtimes: ClassVar[tuple[str, ...]] = ("openvino",)
    options: ClassVar[frozenset[str]] = frozenset({"half"})

    @classmethod
    def availability(cls) -> Availability:
        return Availability(devices=("any",), version=ov.__version__)

    def export(self, model: Sam, folder: Path, options: ExportOptions) -> tuple[Graph, ...]:
        config = model.config
        size, channels = config.image_size, config.image_encoder.out_chans
        outputs = config.mask_decoder.num_multimask_outputs + 1
        return (
            _export_graph(
                ENCODER, SamEncoder(model), encoder_specs(size, channels), folder, options
            ),
            _export_graph(
                DECODER, SamDecoder(model), decoder_specs(size, channels, outputs), folder, options
            ),
        )


def _export_graph(
    role: str,
    module: nn.Module,
    specs: tuple[Sequence[TensorSpec], Sequence[TensorSpec]],
    folder: Path,
    options: ExportOptions,
) -> Graph:
    inputs, outputs = specs
    example = {
        spec.name: torch.zeros([2 if isinstance(side, str) else side for side in spec.shape])
        for spec in inputs
    }
    shapes: list[Any] = [
        (spec.name, [-1 if isinstance(side, str) else side for side in spec.shape])
        for spec in inputs
    ]
    try:
        with warnings.catch_warnings():
            # OpenVINO traces with torch.jit, which torch has announced to retire.
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            converted = ov.convert_model(module.eval(), example_input=example, input=shapes)
    except Exception as error:  # the frontend raises a family of unrelated types
        raise ExportError(f"OpenVINO could not convert the {role}: {error}") from error
    for port, spec in zip(converted.outputs, outputs, strict=True):
        port.get_tensor().set_names({spec.name})
    for name, value in {"role": role, **options.metadata}.items():
        converted.set_rt_info(value, ["samdeploy", name])
    path = Path(f"{role}.xml")
    ov.save_model(converted, folder / path, compress_to_fp16=options.half)
    return Graph(role, (path, path.with_suffix(".bin")), tuple(inputs), tuple(outputs))
