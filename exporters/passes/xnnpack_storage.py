"""Weights of XNNPACK's layers in 16 or 8 bits, in a program that was lowered in float32.

A part that XNNPACK computes is a graph in a format of its own, with its constants beside it. There
a layer may have float32 values and a filter of fewer bits, which torch and the lowering do not
know: float16, which is widened when a program is loaded, or 8 bits with a scale an output channel,
beside values that are rounded to 8 bits row by row while the program runs.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from executorch.backends.xnnpack.serialization import xnnpack_graph_schema as schema
from executorch.backends.xnnpack.serialization import xnnpack_graph_serialize as blobs
from executorch.backends.xnnpack.utils.xnnpack_constants import XNN_INVALID_VALUE_ID
from executorch.exir._serialize._dataclass import _json_to_dataclass
from executorch.exir._serialize._flatbuffer import _flatc_decompile
from executorch.exir._serialize._named_data_store import NamedDataStore
from executorch.exir.lowered_backend_module import LoweredBackendModule
from numpy.typing import NDArray

_TYPES = schema.XNNDatatype
#: What the lowering aligns constants to.
_ALIGNMENT = 16
#: Place of a constant in no file but among the named ones.
_NAMED = 2**64 - 1


@dataclass(frozen=True)
class Storage:
    """How to store the filters of layers.

    Attributes:
        half: those that do not become 8 bits in float16.
        eight: :func:`digest` of those that become 8 bits, where they are there.
    """

    half: bool = False
    eight: frozenset[str] = frozenset()


def digest(values: NDArray[np.float32]) -> str:
    """What a program calls a constant."""
    return hashlib.sha256(values.tobytes()).hexdigest()


def store(program: torch.fx.GraphModule, storage: Storage) -> set[str]:
    """Change the parts of a lowered ``program``; which of ``storage.eight`` were there."""
    found: set[str] = set()
    for node in program.graph.nodes:
        if node.op == "get_attr" and isinstance(
            part := getattr(program, node.target), LoweredBackendModule
        ):
            shrunk = _Part(part)
            found |= shrunk.shrink(storage)
            shrunk.write(part)
    return found


class _Part:
    """A graph of XNNPACK and its constants by name."""

    def __init__(self, part: Any) -> None:
        self._graph: Any = _opened(part.processed_bytes)
        kept = part.named_data_store_output
        self._constants: dict[str, bytes] = {
            name: bytes(kept.buffers[entry.buffer_index]) for name, entry in kept.pte_data.items()
        }
        self._tensors = {_tensor(value).id_out: value for value in self._graph.xvalues}

    def shrink(self, storage: Storage) -> set[str]:
        found, eight = set(), set()
        for id in self._filters():
            name = self._name(id)
            if name in storage.eight:
                self._to_bytes(id)
                found.add(name)
                eight.add(id)
            elif storage.half:
                self._to_half(id)
        self._round_inputs(eight)
        return found

    def write(self, part: Any) -> None:
        data = NamedDataStore()
        for constant in self._graph.constant_data[1:]:  # the first stands for none
            if constant.named_key:
                content = self._constants[constant.named_key]
                data.add_named_data(constant.named_key, content, _ALIGNMENT)
        part._processed_bytes = blobs.serialize_xnnpack_binary(self._graph, bytearray())
        part._named_data_store_output = data.get_named_data_store_output()

    def _filters(self) -> set[int]:
        """Float32 weights, but for the equal numbers that sum an axis."""
        nodes = [vars(node.xnode_union) for node in self._graph.xnodes]
        filters = {node["filter_id"] for node in nodes if "filter_id" in node}
        others = {
            id
            for node in nodes
            for name, id in node.items()
            if name.endswith("_id") and name != "filter_id"
        }
        return {id for id in filters - others if self._is_layer(id)}

    def _is_layer(self, id: int) -> bool:
        tensor = _tensor(self._tensors[id])
        if tensor.datatype != _TYPES.xnn_datatype_fp32 or not tensor.constant_buffer_idx:
            return False
        values = self._values(id)
        return bool((values != values[0]).any())

    def _name(self, id: int) -> str:
        place = _tensor(self._tensors[id]).constant_buffer_idx
        name: str = self._graph.constant_data[place].named_key
        return name

    def _values(self, id: int) -> NDArray[np.float32]:
        return np.frombuffer(self._constants[self._name(id)], np.float32)

    def _to_half(self, id: int) -> None:
        tensor = _tensor(self._tensors[id])
        with np.errstate(over="ignore"):  # a weight that becomes infinite fails the verification
            halves = self._values(id).astype(np.float16)
        self._graph.constant_data[tensor.constant_buffer_idx] = self._constant(halves)
        tensor.datatype = _TYPES.xnn_datatype_fp16

    def _to_bytes(self, id: int) -> None:
        tensor = _tensor(self._tensors[id])
        rows = self._values(id).reshape(tensor.dims)
        scales = (np.abs(rows).max(1) / 127).astype(np.float32)
        scales[scales == 0] = 1
        levels = np.rint(rows / scales[:, None]).astype(np.int8)
        self._graph.constant_data[tensor.constant_buffer_idx] = self._constant(levels)
        self._graph.constant_data.append(self._constant(scales))
        tensor.datatype = _TYPES.xnn_datatype_qcint8
        self._tensors[id].xvalue_union = schema.XNNQuantizedTensorValue(
            tensor,
            schema.PerChannelQuant(
                scale=[],
                channel_dim=0,
                scale_buffer_idx=len(self._graph.constant_data) - 1,
                num_scales=len(scales),
            ),
        )

    def _constant(self, values: NDArray[Any]) -> Any:
        name = digest(values)
        self._constants[name] = values.tobytes()
        return schema.ConstantDataOffset(_NAMED, values.nbytes, name)

    def _round_inputs(self, filters: set[int]) -> None:
        """Give layers with these filters an input of 8 bits, each of its rows with a scale and a
        zero of its own."""
        rounded: dict[int, int] = {}  # once for all layers that take it
        nodes, self._graph.xnodes = self._graph.xnodes, []
        for node in nodes:
            layer = node.xnode_union
            if getattr(layer, "filter_id", None) in filters:
                source = layer.input1_id
                if source not in rounded:
                    rounded[source] = self._new_rows(source)
                    convert = schema.XNNConvert(source, rounded[source], 0)
                    self._graph.xnodes.append(schema.XNode(convert, node.debug_handle))
                layer.input1_id = rounded[source]
            self._graph.xnodes.append(node)

    def _new_rows(self, source: int) -> int:
        dims = [*_tensor(self._tensors[source]).dims]
        id: int = max(self._tensors) + 1
        tensor = schema.XNNTensorValue(
            datatype=_TYPES.xnn_datatype_qdint8,
            num_dims=len(dims),
            dims=dims,
            constant_buffer_idx=0,
            external_id=XNN_INVALID_VALUE_ID,
            flags=0,
            id_out=id,
        )
        # The last dimension is a row.
        value = schema.XNNQuantizedTensorValue(tensor, schema.PerTokenDynamicQuant(1))
        self._tensors[id] = schema.XValue(value)
        self._graph.xvalues.append(self._tensors[id])
        return id


def _opened(content: bytes) -> Any:
    header = blobs.XNNHeader.from_bytes(content[: blobs.XNNHeader.EXPECTED_LENGTH])
    start = header.flatbuffer_offset
    with tempfile.TemporaryDirectory() as work:
        rules, stored = Path(work) / "schema.fbs", Path(work) / "graph.bin"
        rules.write_bytes(blobs._get_schema_bytes())
        stored.write_bytes(content[start : start + header.flatbuffer_size])
        _flatc_decompile(work, str(rules), str(stored), ["--raw-binary"])
        told = stored.with_suffix(".json").read_text()
    # A clamp without a bound: the tool writes what no JSON has.
    told = re.sub(r"(: -?)inf\b", r"\1Infinity", told)
    return _json_to_dataclass(json.loads(told), schema.XNNGraph)


def _tensor(value: Any) -> Any:
    union = value.xvalue_union
    return getattr(union, "tensor_value", union)
