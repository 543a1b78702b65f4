"""The devices that ``device=`` may name: what each is, and which runtimes could offer it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """``runtimes`` could offer it; a ``gpu`` likes many prompts at a time."""

    meaning: str
    runtimes: tuple[str, ...]
    gpu: bool = False


DEVICES = {
    "cpu": Kind("the processor", ("onnxruntime", "openvino", "torch", "coreml", "mil")),
    "cuda": Kind("NVIDIA GPU", ("onnxruntime", "torch", "tensorrt"), gpu=True),
    "tensorrt": Kind("NVIDIA GPU through TensorRT", ("onnxruntime",), gpu=True),
    "rtx": Kind("NVIDIA GPU through TensorRT-RTX", ("onnxruntime",), gpu=True),
    "mps": Kind("Apple GPU through torch", ("torch",), gpu=True),
    "mlx": Kind("Apple GPU through MLX", ("onnxruntime",), gpu=True),
    "coreml": Kind("Core ML inside ONNX Runtime", ("onnxruntime",)),
    "all": Kind("Core ML: CPU, GPU and Neural Engine", ("coreml",)),
    "npu": Kind("Core ML: CPU and Neural Engine; OpenVINO: NPU", ("coreml", "openvino")),
    "gpu": Kind("Core ML: CPU and GPU; OpenVINO: GPU", ("coreml", "openvino"), gpu=True),
    "rocm": Kind("AMD GPU", ("onnxruntime",), gpu=True),
    "migraphx": Kind("AMD GPU through MIGraphX", ("onnxruntime",), gpu=True),
    "directml": Kind("any GPU on Windows", ("onnxruntime",), gpu=True),
    "webgpu": Kind("any GPU through WebGPU", ("onnxruntime",), gpu=True),
    "qnn": Kind("Qualcomm NPU", ("onnxruntime",)),
    "openvino": Kind("OpenVINO inside ONNX Runtime", ("onnxruntime",)),
}


def base_name(device: str) -> str:
    """A device without its number: ``cuda`` of ``cuda:1``, ``gpu`` of ``gpu.0``."""
    return device.partition(":")[0].partition(".")[0]


def is_gpu(device: str) -> bool:
    kind = DEVICES.get(base_name(device))
    return kind is not None and kind.gpu
