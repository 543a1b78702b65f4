"""Graphs around other graphs, written in ONNX's own text, which calls a graph like an operator.

resized (float[h, w] a) => (float[1, C, g, g] embeddings)
{
    image = Unsqueeze (a, axes)
    embeddings = encoder (image)
}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx
from onnx.parser import ParseError, parse_model

from samdeploy.errors import ExportError


def inlined(
    text: str, files: Mapping[str, Path], names: Mapping[str, str] | None = None
) -> onnx.ModelProto:
    """The model that ``text`` writes, with the graphs of ``files`` where it calls them by name.

    A call gives all inputs of a graph and takes all of its outputs, in order. Operator sets and
    metadata are those of the graphs, which have the same.

    Args:
        names: other names for inputs and outputs, such as ``embeddings.0``, which the text cannot
            write.

    Raises:
        ExportError: ``text`` is no ONNX.
    """
    try:
        model: onnx.ModelProto = parse_model('<ir_version: 8, opset_import: ["" : 17]>' + text)
    except ParseError as error:
        raise ExportError(f"a layout is no ONNX text: {error}") from error
    graphs = {
        node.op_type: onnx.load(files[node.op_type])
        for node in model.graph.node
        if node.op_type in files
    }
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type in graphs:
            nodes += _body(node, graphs[node.op_type].graph)
            model.graph.initializer.extend(_weights(node.op_type, graphs[node.op_type].graph))
        else:
            nodes.append(node)
    del model.graph.node[:], model.opset_import[:]
    model.graph.node.extend(nodes)
    _rename(model.graph, names or {})
    first = next(iter(graphs.values()))
    opsets = {each.domain: each for graph in graphs.values() for each in graph.opset_import}
    model.opset_import.extend(opsets.values())
    model.metadata_props.extend(each for each in first.metadata_props if each.key != "role")
    model.ir_version, model.doc_string = first.ir_version, first.doc_string
    model.producer_name, model.producer_version = first.producer_name, first.producer_version
    return model


def _body(call: onnx.NodeProto, graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph, with the tensors of ``call`` in the place of its own inputs and
    outputs, and its name before all others."""
    inner = [value.name for value in (*graph.input, *graph.output)]
    outer = dict(zip(inner, (*call.input, *call.output), strict=True))
    for node in graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name = _within(call.op_type, node.name)
        for sides in (copy.input, copy.output):
            sides[:] = [outer.get(name) or _within(call.op_type, name) for name in sides]
        yield copy


def _weights(role: str, graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    for weight in graph.initializer:
        weight.name = _within(role, weight.name)
        yield weight


def _within(role: str, name: str) -> str:
    return f"{role}/{name}" if name else ""


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    for value in (*graph.input, *graph.output):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        for sides in (node.input, node.output):
            sides[:] = [names.get(name, name) for name in sides]
