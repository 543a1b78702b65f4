"""An ONNX graph that WebGPU can run: no operator with too many inputs or outputs.

WebGPU promises a shader eight buffers, for what an operator reads and writes. With more there is
no error: ONNX Runtime Web was seen to answer wrong numbers. Concatenations are taken apart here and
not in the torch modules, because torch's tracer joins what is concatenated in steps.
"""

from __future__ import annotations

import onnx
from onnx import helper

from samdeploy.errors import ExportError

#: Inputs of an operator that has one output.
MOST_OPERANDS = 7


def narrow(model: onnx.ModelProto, role: str) -> None:
    """Concatenate in steps, in place.

    Raises:
        ExportError: another operator is too wide.
    """
    nodes = list(model.graph.node)
    del model.graph.node[:]
    for node in nodes:
        if node.op_type == "Concat":
            while len(node.input) > MOST_OPERANDS:
                model.graph.node.extend(_joined_first(node))
        model.graph.node.append(node)
        if max(len(node.input), len(node.output)) > MOST_OPERANDS:
            raise ExportError(
                f"operator '{node.name}' ({node.op_type}) of the {role} graph has "
                f"{len(node.input)} inputs and {len(node.output)} outputs; WebGPU allows "
                f"{MOST_OPERANDS}: slice instead of splitting, or write it in steps."
            )


def _joined_first(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Concatenations of groups of what ``node`` takes, which takes their outputs instead."""
    axis = helper.get_node_attr_value(node, "axis")
    made, inputs = [], []
    for start in range(0, len(node.input), MOST_OPERANDS):
        group = node.input[start : start + MOST_OPERANDS]
        if len(group) == 1:
            inputs += group
            continue
        name = f"{node.output[0]}_of_{len(node.input)}_from_{start}"
        made.append(helper.make_node("Concat", group, [name], name, axis=axis))
        inputs.append(name)
    del node.input[:]
    node.input.extend(inputs)
    return made
