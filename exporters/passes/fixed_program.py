"""A graph module for accelerators that run fixed shapes only: what does not depend on its inputs is
a constant, no concatenation takes more than they allow, and no product repeats an operand.

What else they ask for is so in every graph: no rank above 4 and no shape that depends on data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule as Program
from torch.fx import Node

from samdeploy.exporters.passes.onnx_narrow import MOST_OPERANDS

_JOINS = (torch.ops.aten.cat.default, torch.ops.aten.stack.default)


def fixed_program(
    module: torch.nn.Module,
    example: tuple[Tensor, ...],
    rewritten: Mapping[Any, Callable[..., Any]] | None = None,
) -> Program:
    """``module`` for inputs of the shapes of ``example``, which answers the same; with functions
    for operators that are to be ``rewritten``."""
    with torch.no_grad():
        exported = torch.export.export(module, example)
        if rewritten:
            exported = exported.run_decompositions(dict(rewritten))
        program: Any = exported.module()
        _fold(program)
    _without_aliases(program)
    _gather(program)
    _narrow(program)
    program.graph.eliminate_dead_code()
    _forget(program)
    program.recompile()
    return program  # type: ignore[no-any-return]


def _fold(program: Program) -> None:
    """Compute what comes of constants alone, such as the positions of image tokens."""
    known: dict[Node, Any] = {}
    for node in program.graph.nodes:
        if node.op == "get_attr":
            known[node] = node.meta["val"] = attrgetter(node.target)(program)
        elif node.op == "call_function" and all(each in known for each in node.all_input_nodes):
            known[node] = node.target(*_values(node.args, known), **_values(node.kwargs, known))
    for node, value in known.items():
        read = any(user not in known for user in node.users)
        if node.op == "call_function" and read and isinstance(value, Tensor):
            name = f"folded_{node.name}"
            program.register_buffer(
                name, value.detach().clone(memory_format=torch.contiguous_format)
            )
            with program.graph.inserting_before(node):
                folded = program.graph.get_attr(name)
            folded.meta["val"] = value
            node.replace_all_uses_with(folded)


def _values(arguments: Any, known: Mapping[Node, Any]) -> Any:
    return torch.fx.map_arg(arguments, known.__getitem__)


def _without_aliases(program: Program) -> None:
    """Take out what only gives a tensor another name, such as a slice of all of it."""
    for node in program.graph.nodes:
        if node.op == "call_function" and node.target == torch.ops.aten.alias.default:
            node.replace_all_uses_with(node.args[0])


def _gather(program: Program) -> None:
    """Products of ``[B, s, m, d]`` with ``[s, d, n]`` that all of ``B`` share: one for each of
    ``s``. Converters would repeat the second ``B`` times, which takes long, and GPUs refuse."""
    graph, aten = program.graph, torch.ops.aten
    for node in list(graph.nodes):
        if node.op != "call_function" or node.target != aten.matmul.default:
            continue
        many, shared = (tuple(each.meta["val"].shape) for each in node.args)
        if len(many) != 4 or len(shared) != 3 or shared[0] != many[1]:
            continue
        B, s, m, d = many
        with graph.inserting_before(node):
            apart = graph.call_function(aten.transpose.int, (node.args[0], 0, 1))
            flat = graph.call_function(aten.reshape.default, (apart, [s, B * m, d]))
            product = graph.call_function(aten.matmul.default, (flat, node.args[1]))
            back = graph.call_function(aten.reshape.default, (product, [s, B, m, shared[2]]))
            result = graph.call_function(aten.transpose.int, (back, 0, 1))
        result.meta["val"] = node.meta["val"]
        node.replace_all_uses_with(result)


def _forget(program: Program) -> None:
    """Take out what no node reads any more. Torch would hand on such buffers as constants, of which
    ExecuTorch then finds no node."""
    program.delete_all_unused_submodules()
    read = {node.target for node in program.graph.nodes if node.op == "get_attr"}
    for name, _ in list(program.named_buffers(remove_duplicate=False)):
        if name not in read:
            path, _, last = name.rpartition(".")
            delattr(program.get_submodule(path), last)


def _narrow(program: Program) -> None:
    """Join in steps what is joined of many."""
    for node in list(program.graph.nodes):
        if node.op != "call_function" or node.target not in _JOINS:
            continue
        parts, dim = list(node.args[0]), node.args[1] if len(node.args) > 1 else 0
        while len(parts) > MOST_OPERANDS:
            size = -(-len(parts) // -(-len(parts) // MOST_OPERANDS))
            groups = [parts[i : i + size] for i in range(0, len(parts), size)]
            with program.graph.inserting_before(node):
                parts = [program.graph.call_function(node.target, (each, dim)) for each in groups]
            # What is stacked already is only put together.
            node.target = torch.ops.aten.cat.default
        node.args = (parts, dim)
