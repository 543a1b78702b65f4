"""The floor that timings are set beside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from samdeploy.benchmarks.arithmetic import count_flops, operator_seconds, peak_flops
from samdeploy.session import RuntimeOptions

pytestmark = pytest.mark.exporting


def save(folder: Path, node: onnx.NodeProto, shape: list[int | str], *weight: int) -> Path:
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.zeros(weight, np.float32), "w")],
    )
    opset = [helper.make_opsetid("", 17)]
    path = folder / "graph.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def test_matrix_product_with_a_dynamic_side(tmp_path: Path) -> None:
    path = save(tmp_path, helper.make_node("MatMul", ["x", "w"], ["y"]), ["prompts", 3, 4], 4, 5)
    assert count_flops(path, {"prompts": 7}) == 2 * 7 * 3 * 4 * 5


def test_convolution_in_groups(tmp_path: Path) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=2, pads=[1, 1, 1, 1])
    path = save(tmp_path, node, [1, 4, 8, 8], 6, 2, 3, 3)
    assert count_flops(path, {}) == 2 * (6 * 8 * 8) * (2 * 3 * 3)


def test_transposed_convolution(tmp_path: Path) -> None:
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2])
    path = save(tmp_path, node, [1, 4, 8, 8], 4, 6, 2, 2)
    assert count_flops(path, {}) == 2 * (4 * 8 * 8) * (6 * 2 * 2)


def test_a_side_that_is_not_known(tmp_path: Path) -> None:
    path = save(tmp_path, helper.make_node("MatMul", ["x", "w"], ["y"]), ["prompts", 3, 4], 4, 5)
    with pytest.raises(ValueError, match="are not known"):
        count_flops(path, {})


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_runtimes_are_asked(small_bundle: Path, runtime: str) -> None:
    options = RuntimeOptions(threads=1)
    assert peak_flops(runtime, options) > 1e8
    feeds = {"image_embeddings": np.zeros((1, 64, 16, 16), np.float32)}
    operators = operator_seconds(runtime, small_bundle / "prepare.onnx", feeds, options)
    assert sum(operators.values()) > 0
    assert {"Gemm", "MatMul", "FullyConnected"} & set(operators)
