"""Execution providers of ONNX Runtime: what they are called, who brings them, how they compute.

Some are compiled into a build of ONNX Runtime; others are plugins, packages of their own beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from samdeploy.precision import element_type


def _float32() -> dict[str, dict[str, str]]:
    return {"fp32": {}}


@dataclass(frozen=True)
class Provider:
    """An execution provider.

    Attributes:
        name: ONNX Runtime's name of it.
        package: the package that brings it.
        plugin: for a plugin, the function of its package that says where its library is.
        hardware: for a plugin, the kind that it has to find, as ONNX Runtime spells it; empty for
            any.
        system: the only value of ``sys.platform`` that it exists for.
        arithmetic: for each arithmetic of float32 graphs that it can be asked for, the options that
            ask for it, float32 first where it has that. What may be rounded as TF32 is has to be
            asked for.
        memory: ONNX Runtime's name of the memory that its inputs are copied to; empty where they
            stay in the host's.
        nvidia: it needs the CUDA libraries, and numbers its devices as the driver does.
    """

    name: str
    package: str
    plugin: str = ""
    hardware: str = ""
    system: str = ""
    arithmetic: Mapping[str, Mapping[str, str]] = field(hash=False, default_factory=_float32)
    memory: str = ""
    nvidia: bool = False


def _openvino(precision: str) -> dict[str, str]:
    devices = ("CPU", "GPU", "NPU")
    settings = {device: {"INFERENCE_PRECISION_HINT": element_type(precision)} for device in devices}
    return {"load_config": json.dumps(settings)}


#: Device names to execution providers, best first.
PROVIDERS = {
    "tensorrt": Provider(
        "TensorrtExecutionProvider",
        "onnxruntime-gpu",
        # TensorRT rounds products to TF32, and this provider has no option against it.
        arithmetic={
            "tf32": {},
            "fp16": {"trt_fp16_enable": "1"},
            "bf16": {"trt_bf16_enable": "1"},
        },
        memory="cuda",
        nvidia=True,
    ),
    "rtx": Provider(
        "NvTensorRTRTXExecutionProvider",
        "onnxruntime-ep-nv-tensorrt-rtx",
        "onnxruntime_ep_nv_tensorrt_rtx:get_library_path",
        arithmetic={"tf32": {}},
        memory="cuda",
        nvidia=True,
    ),
    "cuda": Provider(
        "CUDAExecutionProvider",
        "onnxruntime-gpu",
        arithmetic={"fp32": {"use_tf32": "0"}, "tf32": {"use_tf32": "1"}},
        memory="cuda",
        nvidia=True,
    ),
    "migraphx": Provider(
        "MIGraphXExecutionProvider",
        "onnxruntime-migraphx",
        arithmetic=_float32() | {"fp16": {"migraphx_fp16_enable": "1"}},
    ),
    "rocm": Provider("ROCMExecutionProvider", "onnxruntime-rocm"),
    "directml": Provider(
        "DmlExecutionProvider",
        "onnxruntime-directml",
        system="win32",
        memory="dml",
    ),
    "coreml": Provider(
        "CoreMLExecutionProvider",
        "onnxruntime",
        system="darwin",
        # A neural network, the older format, is float16 on the GPU and the Neural Engine.
        arithmetic={"fp32": {"ModelFormat": "MLProgram"}, "fp16": {"ModelFormat": "NeuralNetwork"}},
    ),
    "mlx": Provider(
        "MLXExecutionProvider",
        "onnxruntime-ep-mlx",
        "onnxruntime_ep_mlx:library_path",
        system="darwin",
        # Not documented; MLX itself allows TF32 on GPUs that have it.
        arithmetic={"tf32": {}},
    ),
    "qnn": Provider(
        "QNNExecutionProvider",
        "onnxruntime-qnn",
        "onnxruntime_qnn:get_library_path",
        # On x86 it finds the processor, on which it simulates.
        hardware="NPU",
        arithmetic={"fp16": {}},
    ),
    "openvino": Provider(
        "OpenVINOExecutionProvider",
        "onnxruntime-ep-openvino",
        "onnxruntime_ep_openvino:get_library_path",
        # Left alone it computes in less than float32 where the device has it.
        arithmetic={precision: _openvino(precision) for precision in ("fp32", "fp16", "bf16")},
    ),
    "webgpu": Provider(
        "WebGpuExecutionProvider",
        "onnxruntime-ep-webgpu",
        "onnxruntime_ep_webgpu:get_library_path",
    ),
    "cpu": Provider("CPUExecutionProvider", "onnxruntime"),
}

#: Operators that move, cast or describe data and compute nothing.
MOVING = frozenset(
    {
        "Cast", "Concat", "Constant", "ConstantOfShape", "DequantizeLinear", "Expand", "Flatten",
        "Gather", "GatherElements", "GatherND", "Identity", "MemcpyFromHost", "MemcpyToHost", "Pad",
        "QuantizeLinear", "Range", "Reshape", "Shape", "Size", "Slice", "Split", "Squeeze", "Tile",
        "Transpose", "Unsqueeze", "Where",
    }
)  # fmt: skip

#: Of the operators of a graph that compute, the least share that a provider must take. With less,
#: the processor does most of the work, and every border between the two costs copies: whoever
#: named the device would be measuring the processor.
LEAST_SHARE = 0.5
