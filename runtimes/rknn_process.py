"""The process that builds and simulates for :mod:`samdeploy.runtimes.rknn_toolkit`.

It runs in an environment that has rknn-toolkit2 and perhaps not samdeploy, so it imports nothing of
ours. Orders and answers are a line of JSON each, and behind it the float32 arrays whose ``shapes``
the line tells. What the toolkit prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import numpy as np
from rknn.api import RKNN

#: Of its rewrites, one that fails on a scorer of several prompts.
_LEFT_OUT = ["reduce_reshape_op_around_concat"]

#: Built graphs that are simulated, by number. The simulator runs no others: it reads no files.
_opened: dict[int, Any] = {}


def built(onnx: str, chip: str) -> Any:
    graph = RKNN(verbose=False)
    _succeed("configure", graph.config(target_platform=chip, disable_rules=_LEFT_OUT))
    _succeed("read the ONNX graph", graph.load_onnx(onnx))
    _succeed("build", graph.build(do_quantization=False))
    return graph


def build(arrays: Sequence[Any], onnx: str, chip: str, rknn: str) -> list[Any]:
    graph = built(onnx, chip)
    _succeed("write the file", graph.export_rknn(rknn))
    graph.release()
    return []


def open_(arrays: Sequence[Any], onnx: str, chip: str, number: int) -> list[Any]:
    graph = built(onnx, chip)
    _succeed("start the simulator", graph.init_runtime())
    _opened[number] = graph
    return []


def run(arrays: Sequence[Any], number: int) -> list[Any]:
    # Inputs of four dimensions would be taken to have channels last.
    answers = _opened[number].inference(list(arrays), data_format=["nchw"] * len(arrays))
    if answers is None:
        raise RuntimeError("it failed to simulate")
    return list(answers)


def close(arrays: Sequence[Any], number: int) -> list[Any]:
    _opened.pop(number).release()
    return []


_ORDERS: dict[str, Callable[..., list[Any]]] = {
    "build": build, "open": open_, "run": run, "close": close,
}  # fmt: skip


def _succeed(step: str, code: int) -> None:
    if code != 0:
        raise RuntimeError(f"it failed to {step}")


def answer(orders: BinaryIO, answers: BinaryIO) -> None:
    for line in orders:
        order = json.loads(line)
        given = [read(orders, shape) for shape in order.pop("shapes")]
        try:
            results = [
                np.ascontiguousarray(each, np.float32)
                for each in _ORDERS[order.pop("do")](given, **order)
            ]
            told: dict[str, Any] = {"shapes": [each.shape for each in results]}
        except Exception as error:  # of many types
            results, told = [], {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(told).encode() + b"\n")
        for each in results:
            answers.write(each.tobytes())
        answers.flush()


def read(stream: BinaryIO, shape: Sequence[int]) -> Any:
    content = stream.read(4 * int(np.prod(shape)))
    return np.frombuffer(content, np.float32).reshape(shape)


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "wb") as _answers:
        os.dup2(2, 1)
        answer(sys.stdin.buffer, _answers)
