"""Tables of attention biases are stored small and come back to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from samdeploy.exporters.passes.onnx_tables import compress_tables
from samdeploy.exporters.passes.weights import columns_and_index

N, HEADS = 100, 3


def biases(seed: int) -> NDArray[np.float32]:
    """One value a head for every absolute offset in a 10 x 10 window."""
    side = np.arange(N)
    rows, columns = side // 10, side % 10
    offset = abs(rows[:, None] - rows) * 10 + abs(columns[:, None] - columns)
    values = np.random.default_rng(seed).normal(size=(HEADS, N)).astype(np.float32)
    return values[:, offset][None]


def model(*tables: NDArray[np.float32]) -> onnx.ModelProto:
    """``x`` plus every table; the last one is a Constant node."""
    names = [f"table{i}" for i in range(len(tables))]
    nodes, current = [], "x"
    for name in names:
        nodes.append(helper.make_node("Add", [current, name], [f"{name}_sum"]))
        current = f"{name}_sum"
    last = helper.make_node(
        "Constant", [], [names[-1]], value=numpy_helper.from_array(tables[-1], "value")
    )
    shape = [1, HEADS, N, N]
    graph = helper.make_graph(
        [last, *nodes],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(current, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(table, name) for table, name in zip(tables, names, strict=True)][
            :-1
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    return made


def run(graph: onnx.ModelProto, x: NDArray[np.float32]) -> NDArray[np.float32]:
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    result: NDArray[np.float32] = session.run(None, {"x": x})[0]
    return result


def test_small_and_the_same() -> None:
    made = model(biases(0), biases(1))
    x = np.random.default_rng(2).normal(size=(1, HEADS, N, N)).astype(np.float32)
    before, size = run(made, x), made.ByteSize()
    compress_tables(made)
    onnx.checker.check_model(made, full_check=True)
    np.testing.assert_array_equal(run(made, x), before)
    # One index of bytes for both tables, and two small sets of columns.
    assert made.ByteSize() < N * N + 2 * HEADS * N * 4 + 2000 < size / 10
    assert [node.op_type for node in made.graph.node].count("Cast") == 1


def test_what_is_no_table_stays() -> None:
    rng = np.random.default_rng(0)
    dense = rng.normal(size=(1, HEADS, N, N)).astype(np.float32)
    made = model(dense, dense + 1)
    compress_tables(made)
    kept = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    np.testing.assert_array_equal(kept["table0"], dense)
    assert {node.op_type for node in made.graph.node} == {"Add"}


@pytest.mark.slow
def test_the_shipped_model_has_such_tables(tiny_bundle: Path) -> None:
    found = onnx.load(tiny_bundle / "encoder.onnx")
    assert sum(node.op_type == "Gather" for node in found.graph.node) == 8
    assert found.ByteSize() < 9e6  # 15.8 MB spelled out


def test_convolutions_are_not_compared() -> None:
    def read() -> NDArray[np.float32]:
        raise AssertionError("their columns take minutes")

    for kernel in (1, 3, 7):
        assert columns_and_index((640, 640, kernel, kernel), read) is None
