"""Qualcomm's NPUs (Hexagon): every graph as a context that ONNX Runtime's plugin onnxruntime-qnn
builds for one chip, from our ONNX graph.

All shapes are fixed (:mod:`samdeploy.fixed_shapes`). A file is an ONNX graph of one operator with
the context inside, which ONNX Runtime opens on the chip in any language.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import onnx
import onnxruntime as ort

from samdeploy.errors import ExportError, InputError
from samdeploy.exporters.passes.onnx_gelu import OPSET, flatten_gelus
from samdeploy.exporters.passes.onnx_graph import onnx_graph, save_onnx
from samdeploy.exporters.passes.onnx_int16 import to_int16
from samdeploy.exporters.passes.onnx_rank import check_rank
from samdeploy.exporting.calibration import calibration_inputs, check_data
from samdeploy.exporting.options import FixedShapesOptions
from samdeploy.fixed_shapes import record_of, variants
from samdeploy.graphs import ENCODER
from samdeploy.models import GraphModule
from samdeploy.options import option
from samdeploy.runtimes.qnn import SETTINGS, SOC, SOCS, context_options, words
from samdeploy.runtimes.qnn_simulator import SIMULATOR, QnnSimulatorRuntime
from samdeploy.session import Availability, Graph


@dataclass(frozen=True)
class QnnOptions(FixedShapesOptions):
    soc: str = option("sm8650", f"chip to build for: {', '.join(SOCS)}")
    int8: bool = option(False, "encoder with 8-bit weights and 16-bit activations")
    data: str = option("", "int8: folder or pattern of images to calibrate with [generated scenes]")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data and not self.int8:
            raise InputError("data= is for int8=True; add that or leave data out.")
        check_data(self.data)
        if self.soc not in SOCS:
            raise InputError(f"soc={self.soc}; expected one of {', '.join(SOCS)}.")

    @property
    def precision(self) -> str:
        """These NPUs compute float graphs in nothing wider."""
        return super().precision if self.int8 else "fp16"


class QnnExporter:
    name: ClassVar[str] = "qnn"
    runtimes: ClassVar[tuple[str, ...]] = ("qnn", "qnn-simulator")
    Options: ClassVar[type[QnnOptions]] = QnnOptions
    tools: ClassVar[tuple[str, ...]] = ("onnx", "onnxsim", "onnxruntime", "onnxruntime-qnn")

    @classmethod
    def availability(cls) -> Availability:
        return QnnSimulatorRuntime.availability()

    def export(self, graph: GraphModule, folder: Path, options: QnnOptions) -> Graph:
        shapes = variants(graph.role, graph.inputs, options.max_prompts, options.max_points)
        eight = options.int8 and graph.role == ENCODER
        metadata = {**options.metadata, SOC: options.soc}
        for name, numbers in shapes.items():
            with tempfile.TemporaryDirectory(dir=folder) as work:
                fixed = graph.fixed(name, *numbers)
                model = onnx_graph(fixed, Path(work), opset=OPSET, metadata=metadata)
                check_rank(model, name)
                flatten_gelus(model)
                if eight:
                    images = calibration_inputs(options.data, graph.image_size, graph.preprocess)
                    model = to_int16(model, images, Path(work))
                source = Path(work) / save_onnx(model, Path(work), name)[0]
                try:
                    _build(source, folder / f"{name}.qnn", SOCS[options.soc])
                except Exception as error:  # ONNX Runtime raises a family of unrelated types
                    raise ExportError(
                        f"QNN could not convert the {name} for {options.soc} ({words(error)}); "
                        "export format=onnx instead."
                    ) from error
        files = tuple(Path(f"{name}.qnn") for name in shapes)
        facts = {SOC: options.soc, **record_of(graph.inputs, shapes)}
        return Graph(graph.role, files, graph.inputs, graph.outputs, facts)


def _build(source: Path, target: Path, soc: int) -> None:
    settings = {**SETTINGS, "soc_model": str(soc), "enable_htp_fp16_precision": "1"}
    options = context_options(SIMULATOR, settings)
    target.unlink(missing_ok=True)  # it would not be written over
    for name, value in (("enable", "1"), ("embed_mode", "1"), ("file_path", str(target))):
        options.add_session_config_entry(f"ep.context_{name}", value)
    ort.InferenceSession(source, options)
    operators = [node.op_type for node in onnx.load(target).graph.node]
    if operators != ["EPContext"]:
        raise ValueError(f"it became {len(operators)} operators, not one")
