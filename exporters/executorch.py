"""ExecuTorch: every graph as programs (``.pte``), straight from the torch modules.

XNNPACK computes what it knows and ExecuTorch's own operators the rest. All shapes are fixed
(:mod:`samdeploy.fixed_shapes`): XNNPACK allows one free dimension in a reshape, and memory is
planned for the largest call. Filters of layers may be stored in fewer bits
(:mod:`samdeploy.exporters.passes.xnnpack_storage`). A program tells the names of its inputs and
outputs as two more methods, ``inputs`` and ``outputs``.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import torch
from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower
from torch import Tensor
from torch.fx.passes.infra.pass_base import PassResult

from samdeploy.errors import ExportError
from samdeploy.exporters.passes.fixed_program import fixed_program
from samdeploy.exporters.passes.xnnpack_operators import XNNPACK_OPERATORS
from samdeploy.exporters.passes.xnnpack_parts import XnnpackParts
from samdeploy.exporters.passes.xnnpack_storage import Storage, digest, store
from samdeploy.exporting.layer_names import belongs_to
from samdeploy.exporting.options import FixedShapesOptions, HalfOption, Int8Options
from samdeploy.fixed_shapes import record_of, variants
from samdeploy.graphs import ENCODER
from samdeploy.models import GraphModule
from samdeploy.session import Availability, Graph
from samdeploy.text import reason


@dataclass(frozen=True)
class ExecuTorchOptions(HalfOption, Int8Options, FixedShapesOptions):
    """Those of the groups alone."""


class ExecuTorchExporter:
    name: ClassVar[str] = "executorch"
    runtimes: ClassVar[tuple[str, ...]] = ("executorch",)
    Options: ClassVar[type[ExecuTorchOptions]] = ExecuTorchOptions
    tools: ClassVar[tuple[str, ...]] = ("executorch",)

    @classmethod
    def availability(cls) -> Availability:
        return Availability(devices=("any",), version=version("executorch"))

    def export(self, graph: GraphModule, folder: Path, options: ExecuTorchOptions) -> Graph:
        shapes = variants(graph.role, graph.inputs, options.max_prompts, options.max_points)
        storage = _storage(graph, options)
        delegated = {}
        eight: set[str] = set()
        for name, numbers in shapes.items():
            try:
                with _quiet():
                    program = _lowered(graph, graph.example(*numbers))
                    lowered = program.exported_program().graph_module
                    delegated[name] = _delegated(lowered)
                    if storage != Storage():
                        eight |= store(lowered, storage)
                        # The program knows constants of before until it is made anew.
                        program = program.transform([lambda module: PassResult(module, True)])
                    content = program.to_executorch().buffer
            except Exception as error:  # of many types, from torch and from ExecuTorch
                raise ExportError(
                    f"ExecuTorch could not convert the {name} ({reason(error)}); export "
                    "format=onnx instead."
                ) from error
            (folder / f"{name}.pte").write_bytes(content)
        if options.int8 and graph.role == ENCODER and not eight:
            raise ExportError(
                "int8=True; the encoder has no linear layers to store in 8 bits, leave it out."
            )
        files = tuple(Path(f"{name}.pte") for name in shapes)
        facts = {"delegated": delegated, **record_of(graph.inputs, shapes)}
        return Graph(graph.role, files, graph.inputs, graph.outputs, facts)


def _storage(graph: GraphModule, options: ExecuTorchOptions) -> Storage:
    if not options.int8 or graph.role != ENCODER:
        return Storage(options.half)
    eight = frozenset(
        digest(weight.detach().numpy())
        for name, weight in graph.module.named_parameters()
        if weight.ndim == 2 and not belongs_to(name, options.float_layers)
    )
    return Storage(options.half, eight)


def _lowered(graph: GraphModule, example: tuple[Tensor, ...]) -> Any:
    with torch.no_grad():
        fixed = fixed_program(graph.module, example, XNNPACK_OPERATORS)
        exported = torch.export.export(fixed, example)
    return to_edge_transform_and_lower(
        exported,
        partitioner=[XnnpackParts()],
        # Its check knows no operators of newer versions of torch.
        compile_config=EdgeCompileConfig(_check_ir_validity=False),
        constant_methods={
            "inputs": [spec.name for spec in graph.inputs],
            "outputs": [spec.name for spec in graph.outputs],
        },
    )


def _delegated(program: torch.fx.GraphModule) -> dict[str, int]:
    """How many parts XNNPACK computes, and how many operators of which name are left."""
    calls = [node.target for node in program.graph.nodes if node.op == "call_function"]
    left = Counter(str(getattr(call, "__name__", call)) for call in calls)
    del left["getitem"]  # of a part's answers
    return {"parts": left.pop("executorch_call_delegate", 0), **left}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch and ExecuTorch announce about each other."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
