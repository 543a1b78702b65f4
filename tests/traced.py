"""Traced graphs kept in a folder, by everything that a trace depends on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import torch

from samdeploy.models import GraphModule

Trace = Callable[[GraphModule, Path, int, bool], onnx.ModelProto]

#: A full-size encoder is not traced twice.
_MOST_BYTES = 50 << 20
_PLAIN = (bool, int, float, str, tuple, type(None))


def remembered(trace: Trace, folder: Path) -> Trace:
    """``trace`` that looks in ``folder`` first."""

    def traced(graph: GraphModule, work: Path, opset: int, simplify: bool) -> onnx.ModelProto:
        path = folder / f"{key(graph, opset, simplify)}.onnx"
        if path.exists():
            return onnx.load(path)
        model = trace(graph, work, opset, simplify)
        if model.ByteSize() < _MOST_BYTES:
            being_written = path.with_suffix(f".{os.getpid()}")
            onnx.save(model, being_written)
            being_written.replace(path)
        return model

    return traced


def key(graph: GraphModule, opset: int, simplify: bool) -> str:
    """Digest of the weights, the structure and the settings."""
    digest = hashlib.sha256()
    for part in (graph.role, graph.inputs, graph.outputs, opset, simplify, *_parts(graph.module)):
        digest.update(part if isinstance(part, bytes) else repr(part).encode())
    return digest.hexdigest()


def _parts(module: torch.nn.Module) -> Iterator[object]:
    """Kinds, settings and weights of a module and of those in it."""
    for name, part in module.named_modules():
        yield name, type(part).__qualname__, part.extra_repr()
        yield sorted(
            (key, repr(value))
            for key, value in vars(part).items()
            if isinstance(value, _PLAIN) or not key.startswith("_")
        )
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        yield name, tensor.dtype, tensor.shape
        yield tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()
