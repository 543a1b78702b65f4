"""OpenVINO's intermediate representation, straight from the torch modules.

Straight from torch and not through ONNX: attention arrives as one operator, which OpenVINO fuses,
where ONNX would have spelled it out as matrix products and a softmax.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, ClassVar

import openvino as ov

from samdeploy.errors import ExportError
from samdeploy.models import Exportable, GraphModule, graph_modules
from samdeploy.session import Availability, ExportOptions, Graph


class OpenVinoExporter:
    name: ClassVar[str] = "openvino"
    runtimes: ClassVar[tuple[str, ...]] = ("openvino",)
    options: ClassVar[frozenset[str]] = frozenset({"half"})

    @classmethod
    def availability(cls) -> Availability:
        return Availability(devices=("any",), version=ov.__version__)

    def export(self, model: Exportable, folder: Path, options: ExportOptions) -> tuple[Graph, ...]:
        return tuple(_export(graph, folder, options) for graph in graph_modules(model).values())


def _export(graph: GraphModule, folder: Path, options: ExportOptions) -> Graph:
    names = [spec.name for spec in graph.inputs]
    example = dict(zip(names, graph.example(), strict=True))
    shapes: list[Any] = [
        (spec.name, [-1 if isinstance(side, str) else side for side in spec.shape])
        for spec in graph.inputs
    ]
    try:
        with warnings.catch_warnings():
            # OpenVINO traces with torch.jit, which torch has announced to retire.
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            converted = ov.convert_model(graph.module, example_input=example, input=shapes)
    except Exception as error:  # the frontend raises a family of unrelated types
        raise ExportError(f"OpenVINO could not convert the {graph.role}: {error}") from error
    ports = (*converted.inputs, *converted.outputs)
    for port, spec in zip(ports, (*graph.inputs, *graph.outputs), strict=True):
        port.get_tensor().set_names({spec.name})
    for name, value in {"role": graph.role, **options.metadata}.items():
        converted.set_rt_info(value, ["samdeploy", name])
    path = Path(f"{graph.role}.xml")
    ov.save_model(converted, folder / path, compress_to_fp16=options.half)
    return Graph(graph.role, (path, path.with_suffix(".bin")), graph.inputs, graph.outputs)
