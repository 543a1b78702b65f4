"""How much arithmetic a graph needs at least, and how much a runtime does in a second.

Together they give the floor of a timing: no kernel of that runtime can be faster on this machine
than its own plain matrix product.
"""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samdeploy.benchmarks.measure import timed
from samdeploy.precision import FP32, element_type
from samdeploy.registry import load_runtime
from samdeploy.session import RuntimeOptions

if TYPE_CHECKING:
    import onnx

#: Side of the matrices whose product stands for a runtime's best.
_SIDE = 1536


def count_flops(graph: Path, sides: Mapping[str, int]) -> int:
    """Floating-point operations (two per multiply-add) of the matrix products and convolutions of
    an ONNX graph, with its dynamic dimensions set to ``sides``.

    Raises:
        ValueError: a shape that is needed does not follow from the inputs.
    """
    import onnx
    import onnxsim

    model = onnx.load(graph)
    for value in (*model.graph.input, *model.graph.output):
        for side in value.type.tensor_type.shape.dim:
            if side.dim_param in sides:
                side.dim_value = sides[side.dim_param]
    del model.graph.value_info[:]
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    # Folds the arithmetic on shapes, which inference alone does not see through.
    model = onnx.shape_inference.infer_shapes(onnxsim.simplify(model)[0], strict_mode=True)
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        shapes[value.name] = tuple(side.dim_value for side in dims)
    return sum(_flops(node, shapes) for node in model.graph.node)


def _flops(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> int:
    if node.op_type not in ("MatMul", "Gemm", "Conv", "ConvTranspose"):
        return 0
    inputs, output = [shapes[name] for name in node.input], shapes[node.output[0]]
    if 0 in output or any(0 in shape for shape in inputs[:2]):
        raise ValueError(f"the shapes of '{node.name}' are not known")
    if node.op_type == "ConvTranspose":  # every input value meets the whole kernel
        return 2 * math.prod(inputs[0]) * math.prod(inputs[1][1:])
    if node.op_type == "Conv":
        return 2 * math.prod(output) * math.prod(inputs[1][1:])
    transposed = any(a.name == "transA" and a.i for a in node.attribute)
    return 2 * math.prod(output) * inputs[0][-2 if transposed else -1]


def peak_flops(runtime: str, options: RuntimeOptions) -> float:
    """Floating-point operations per second of one large matrix product on ``runtime``."""
    import onnx
    from onnx import TensorProto, helper

    shape = [_SIDE, _SIDE]
    rng = np.random.default_rng(0)
    feed, weight = (rng.normal(size=shape).astype(np.float32) for _ in range(2))
    # The names are those of a graph of the contract, because runtimes look tensors up by them.
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["image", "weight"], ["image_embeddings"])],
        "product",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("image_embeddings", TensorProto.FLOAT, shape)],
        [onnx.numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "product.onnx"
        onnx.save(model, path)
        session = load_runtime(runtime)().open(path, "encoder", device="cpu", options=options)
        seconds = timed(lambda: session.run({"image": feed}), warmup=2, rounds=9)
        session.close()
    return 2 * _SIDE**3 / statistics.median(seconds)


def operator_seconds(
    runtime: str, graph: Path, feeds: Mapping[str, Any], options: RuntimeOptions
) -> dict[str, float]:
    """Seconds by type of operator in one inference, as the runtime's own profiler says.

    Raises:
        KeyError: ``runtime`` has no profiler that this module knows.
    """
    return _PROFILERS[runtime](graph, feeds, options)


def _profile_onnxruntime(
    graph: Path, feeds: Mapping[str, Any], options: RuntimeOptions
) -> dict[str, float]:
    import json

    import onnxruntime as ort

    settings = ort.SessionOptions()
    settings.enable_profiling = True
    settings.intra_op_num_threads = options.threads or 0
    with tempfile.TemporaryDirectory() as folder:
        settings.profile_file_prefix = str(Path(folder) / "profile")
        session = ort.InferenceSession(str(graph), settings, providers=["CPUExecutionProvider"])
        session.run(None, dict(feeds))
        session.run(None, dict(feeds))
        events = json.loads(Path(session.end_profiling()).read_text())
    nodes = [event for event in events if event.get("name", "").endswith("_kernel_time")]
    last = nodes[len(nodes) // 2 :]  # the first inference also packed the weights
    return _sum_by_type((event["args"]["op_name"], event["dur"] / 1e6) for event in last)


def _profile_openvino(
    graph: Path, feeds: Mapping[str, Any], options: RuntimeOptions
) -> dict[str, float]:
    import openvino as ov

    settings: dict[str, Any] = {
        "PERF_COUNT": True,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": element_type(options.precision or FP32),
    }
    if options.threads:
        settings["INFERENCE_NUM_THREADS"] = options.threads
    request = ov.Core().compile_model(graph, "CPU", settings).create_infer_request()
    request.infer(dict(feeds))
    request.infer(dict(feeds))
    return _sum_by_type(
        (node.node_type, node.real_time.total_seconds()) for node in request.profiling_info
    )


def _sum_by_type(nodes: Any) -> dict[str, float]:
    total: dict[str, float] = {}
    for kind, seconds in nodes:
        total[kind] = total.get(kind, 0.0) + seconds
    return dict(sorted(total.items(), key=lambda item: -item[1]))


_PROFILERS = {"onnxruntime": _profile_onnxruntime, "openvino": _profile_openvino}
