"""Lower every graph for ExecuTorch's backends and count what each takes: a table of docs/mobile.md.

    python tools/executorch_delegates.py [model=sam_tiny.pt] [backends=xnnpack,coreml,vulkan]

Nothing is run: ``parts`` are the calls of a backend in a program, and what is left is computed by
ExecuTorch's own operators. Core ML's backend needs coremltools beside ExecuTorch.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

from samdeploy.checkpoints import resolve_checkpoint
from samdeploy.exporters.executorch import _delegated, _quiet
from samdeploy.exporters.passes.fixed_program import fixed_program
from samdeploy.exporters.passes.xnnpack_operators import XNNPACK_OPERATORS
from samdeploy.exporting.verify import Reference
from samdeploy.models import GraphModule
from samdeploy.text import reason


class Backend(NamedTuple):
    """Where its partitioner is, and the operators that are written in others for it."""

    module: str
    partitioner: str
    rewritten: Mapping[Any, Callable[..., Any]]


SDPA = torch.ops.aten.scaled_dot_product_attention.default
BACKENDS = {
    "xnnpack": Backend(
        "samdeploy.exporters.passes.xnnpack_parts", "XnnpackParts", XNNPACK_OPERATORS
    ),
    "coreml": Backend("executorch.backends.apple.coreml.partition", "CoreMLPartitioner", {}),
    "vulkan": Backend(
        "executorch.backends.vulkan.partitioner.vulkan_partitioner",
        "VulkanPartitioner",
        # Torch's own attention has a guard for rows without a key, which Vulkan lacks.
        {SDPA: XNNPACK_OPERATORS[SDPA]},
    ),
}
PROMPTS, POINTS = 1, 16


def main() -> None:
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    graphs = Reference(resolve_checkpoint(given.get("model", "sam_tiny.pt"))).load().graphs
    print("| graph | backend | parts | operators left |\n|---|---|---|---|")
    for name in given.get("backends", ",".join(BACKENDS)).split(","):
        for role, graph in graphs.items():
            try:
                with _quiet():
                    counts = taken(graph, BACKENDS[name])
            except Exception as error:  # of many types, from torch and from ExecuTorch
                print(f"| {role} | {name} | fails | {reason(error)} |", flush=True)
                continue
            parts = counts.pop("parts")
            left = ", ".join(f"{count} {call}" for call, count in counts.items()) or "-"
            print(f"| {role} | {name} | {parts} | {left} |", flush=True)


def taken(graph: GraphModule, backend: Backend) -> dict[str, int]:
    """Parts, and how many operators of which name are left."""
    partitioner = getattr(importlib.import_module(backend.module), backend.partitioner)
    example = graph.example(PROMPTS, POINTS)
    with torch.no_grad():
        fixed = fixed_program(graph.module, example, backend.rewritten)
        exported = torch.export.export(fixed, example)
    program = to_edge_transform_and_lower(
        exported,
        partitioner=[partitioner()],
        compile_config=EdgeCompileConfig(_check_ir_validity=False),
    )
    return _delegated(program.exported_program().graph_module)


if __name__ == "__main__":
    main()
