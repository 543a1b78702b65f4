"""Rockchip's NPUs: every graph as ``.rknn``, by the maker's toolkit, from our ONNX graph.

All shapes are fixed (:mod:`samdeploy.fixed_shapes`). The ONNX graph stays beside the file: the
toolkit simulates nothing else, so it is what verification runs. An app does without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from samdeploy.errors import ExportError, InputError
from samdeploy.exporters.passes.onnx_graph import onnx_graph, save_onnx
from samdeploy.exporters.passes.onnx_rank import check_rank
from samdeploy.exporting.options import FixedShapesOptions
from samdeploy.fixed_shapes import record_of, variants
from samdeploy.models import GraphModule
from samdeploy.options import option
from samdeploy.runtimes.rknn_record import CHIPS, Record, Tensor, write_record
from samdeploy.runtimes.rknn_toolkit import Toolkit, ToolkitError, toolkit_availability
from samdeploy.session import Availability, Graph, TensorSpec


@dataclass(frozen=True)
class RknnOptions(FixedShapesOptions):
    chip: str = option("rk3588", f"what to build for: {', '.join(CHIPS)}")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.chip not in CHIPS:
            raise InputError(f"chip={self.chip}; expected one of {', '.join(CHIPS)}.")

    @property
    def precision(self) -> str:
        """These NPUs compute in nothing wider."""
        return "fp16"


class RknnExporter:
    name: ClassVar[str] = "rknn"
    runtimes: ClassVar[tuple[str, ...]] = ("rknnlite", "rknn-simulator")
    Options: ClassVar[type[RknnOptions]] = RknnOptions
    tools: ClassVar[tuple[str, ...]] = ("onnx", "onnxsim")

    def __init__(self) -> None:
        self._toolkit: Toolkit | None = None

    @classmethod
    def availability(cls) -> Availability:
        return toolkit_availability("any")

    def export(self, graph: GraphModule, folder: Path, options: RknnOptions) -> Graph:
        if self._toolkit is None:
            self._toolkit = Toolkit()
        shapes = variants(graph.role, graph.inputs, options.max_prompts, options.max_points)
        files: list[Path] = []
        for name, numbers in shapes.items():
            fixed, rknn = graph.fixed(name, *numbers), Path(f"{name}.rknn")
            model = onnx_graph(fixed, folder, metadata=options.metadata)
            check_rank(model, name)
            written = save_onnx(model, folder, name)
            source, target = (str((folder / path).absolute()) for path in (written[0], rknn))
            try:
                self._toolkit.ask("build", onnx=source, chip=options.chip, rknn=target)
            except ToolkitError as error:
                raise ExportError(
                    f"rknn-toolkit2 could not convert the {name} ({error}); export format=onnx "
                    "instead."
                ) from error
            write_record(
                folder / rknn,
                Record(options.chip, _tensors(fixed.inputs), _tensors(fixed.outputs)),
            )
            files += [rknn, rknn.with_suffix(".json"), *written]
        tools = {"rknn-toolkit2": self.availability().version}
        facts = {"chip": options.chip, "tools": tools, **record_of(graph.inputs, shapes)}
        return Graph(graph.role, tuple(files), graph.inputs, graph.outputs, facts)


def _tensors(specs: tuple[TensorSpec, ...]) -> tuple[Tensor, ...]:
    return tuple(Tensor(spec.name, tuple(map(int, spec.shape))) for spec in specs)
