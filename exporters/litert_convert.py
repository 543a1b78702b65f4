"""The process that converts for :mod:`samdeploy.exporters.litert`: programs to ``.tflite``.

It runs in an environment that has litert-torch and perhaps not samdeploy, so it imports nothing of
ours. It reads one order a line, in JSON, and answers each with a line: the versions of its tools,
or an error.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import litert_torch
import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema
from ai_edge_quantizer import quantizer
from ai_edge_quantizer.calibrator import CalibrationMode
from ai_edge_quantizer.qtyping import QuantGranularity
from torch import Tensor, nn

_FLOAT = schema.TensorType.FLOAT32
#: Every operator.
_ALL = ".*"
#: The quantiser's word for an operator that is to be as it was.
_FLOAT_AGAIN = "no_quantize"


class Named(nn.Module):
    """A program whose inputs and outputs have names, which the file keeps. Without, they would be
    called ``args_0`` and ``output_0``."""

    def __init__(self, program: nn.Module, inputs: list[str], outputs: list[str]) -> None:
        super().__init__()
        self.program, self.names = program, (inputs, outputs)

    def forward(self, **feeds: Tensor) -> dict[str, Tensor]:
        inputs, outputs = self.names
        results = self.program(*(feeds[name] for name in inputs))
        results = (results,) if isinstance(results, Tensor) else results
        return dict(zip(outputs, results, strict=True))


def convert(order: dict[str, Any]) -> None:
    stored: Any = torch.export.load(order["program"])
    example, _ = stored.example_inputs
    program = Named(stored.module(), order["inputs"], order["outputs"])
    feeds = dict(zip(order["inputs"], example, strict=True))
    litert_torch.convert(program, sample_kwargs=feeds).export(order["tflite"])
    if order["weights"] != "fp32":
        compress(order["tflite"], order["weights"], set(order["kept"]), Images(order["images"]))


class Images(Sequence[Mapping[str, Any]]):
    """Inputs of an encoder, read when they are asked for; the quantiser goes through them twice."""

    def __init__(self, files: list[str]) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: Any) -> Any:
        return {"image": np.load(self._files[index])}


def half(made: quantizer.Quantizer) -> None:
    made.add_weight_only_config(_ALL, "*", 16, QuantGranularity.TENSORWISE, "float_casting")


def int8_weights(made: quantizer.Quantizer) -> None:
    made.add_weight_only_config(_ALL, "*", 8)


def int8(made: quantizer.Quantizer) -> None:
    """Activations are rounded while the model runs."""
    made.add_dynamic_config(_ALL, "*", 8)


def integers(made: quantizer.Quantizer) -> None:
    """Everything but what comes in and goes out. Activations have 16 bits, since softmax and sums
    lose too much in 8; the squares of layer norms, which have no form of 16 bits, have 8."""
    made.add_static_config(_ALL, "*", 16, 8)
    made.add_static_config(_ALL, "SQUARED_DIFFERENCE", 8, 8)
    for each in ("INPUT", "OUTPUT"):
        made.update_quantization_recipe(_ALL, each, algorithm_key=_FLOAT_AGAIN)


RECIPES = {"fp16": half, "int8_weights": int8_weights, "int8": int8, "integers": integers}


def compress(path: str, weights: str, kept: set[str], images: Images) -> None:
    """Store a model by one of ``RECIPES``, with weights in 8 bits a scale for each output channel,
    but for layers whose :func:`digest` is in ``kept``; those are float32."""
    made = quantizer.Quantizer(path)
    RECIPES[weights](made)
    for name in outputs_of(path, kept):
        made.update_quantization_recipe(f"^{re.escape(name)};?$", "*", algorithm_key=_FLOAT_AGAIN)
    ranges = None
    if made.need_calibration:
        # The other way keeps every activation: four times the memory and the time.
        ranges = made.calibrate(
            {"serving_default": images}, mode=CalibrationMode.CALIBRATION_PROFILER_BASED
        )
    made.quantize(ranges).export_model(path, overwrite=True)
    if weights == "integers" and not kept and (left := floats_of(path)):
        raise ValueError(f"no form in integers of {', '.join(left)}; leave integers out")


def floats_of(path: str) -> list[str]:
    """Names of the operators that answer in float, but for those that only widen."""
    model = schema.ModelT.InitFromPackedBuf(Path(path).read_bytes(), 0)
    names = {code: name for name, code in vars(schema.BuiltinOperator).items()}
    found = {
        names[model.operatorCodes[each.opcodeIndex].builtinCode]
        for graph in model.subgraphs
        for each in graph.operators
        if any(graph.tensors[output].type == _FLOAT for output in each.outputs)
    }
    return sorted(found - {"DEQUANTIZE"})


def outputs_of(path: str, kept: set[str]) -> list[str]:
    """What operators answer whose weights are ``kept``: the quantiser knows them by that name, and
    the converter keeps none of torch's."""
    model = schema.ModelT.InitFromPackedBuf(Path(path).read_bytes(), 0)
    found: dict[str, str] = {}
    for graph in model.subgraphs if kept else []:
        for operator in graph.operators:
            for tensor in (graph.tensors[i] for i in operator.inputs):
                data = model.buffers[tensor.buffer].data
                if data is not None and len(tensor.shape) > 1 and tensor.type == _FLOAT:
                    name = graph.tensors[operator.outputs[0]].name.decode()
                    found.setdefault(digest(np.frombuffer(bytes(data), np.float32)), name)
    if not kept <= found.keys():
        raise ValueError(f"{len(kept - found.keys())} of float_layers are in no operator's weights")
    return [found[each] for each in kept]


def digest(values: Any) -> str:
    """The same of a weight in any order of its values, since converters turn weights around."""
    return hashlib.sha256(np.sort(values, axis=None).tobytes()).hexdigest()


def main() -> None:
    # What libraries print goes where their messages go; answers alone are read.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    tools = {name: version(name) for name in ("litert-torch", "ai-edge-quantizer", "torch")}
    for line in sys.stdin:
        answer: dict[str, Any] = {"tools": tools}
        try:
            convert(json.loads(line))
        except Exception as error:  # the converter raises a family of unrelated types
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
