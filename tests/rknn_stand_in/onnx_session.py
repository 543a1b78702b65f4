"""ONNX Runtime, for the stand-ins."""

from __future__ import annotations

from typing import Any

import onnxruntime


def session(model: bytes | str) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(opened: Any, inputs: list[Any], data_format: list[str]) -> list[Any]:
    assert data_format == ["nchw"] * len(inputs)
    names = [each.name for each in opened.get_inputs()]
    return list(opened.run(None, dict(zip(names, inputs, strict=True))))
