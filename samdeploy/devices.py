"""The devices that ``device=`` may name, and what each is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A ``gpu`` likes many prompts at a time."""

    meaning: str
    gpu: bool = False


DEVICES = {
    "cpu": Kind("the processor"),
    "cuda": Kind("NVIDIA GPU", gpu=True),
    "tensorrt": Kind("NVIDIA GPU through TensorRT", gpu=True),
    "rtx": Kind("NVIDIA GPU through TensorRT-RTX", gpu=True),
    "mps": Kind("Apple GPU through torch", gpu=True),
    "mlx": Kind("Apple GPU through MLX", gpu=True),
    "coreml": Kind("Core ML inside ONNX Runtime"),
    "all": Kind("Core ML: CPU, GPU and Neural Engine"),
    "npu": Kind("Core ML: CPU and Neural Engine; OpenVINO: NPU; RKNN: Rockchip's NPU"),
    "gpu": Kind("Core ML: CPU and GPU; OpenVINO and LiteRT: GPU", gpu=True),
    "rocm": Kind("AMD GPU", gpu=True),
    "migraphx": Kind("AMD GPU through MIGraphX", gpu=True),
    "directml": Kind("any GPU on Windows", gpu=True),
    "webgpu": Kind("any GPU through WebGPU", gpu=True),
    "opencl": Kind("any GPU through OpenCL", gpu=True),
    "vulkan": Kind("any GPU through Vulkan", gpu=True),
    "metal": Kind("Apple GPU through Metal", gpu=True),
    "nnapi": Kind("Android's NPUs and GPUs through NNAPI"),
    "qnn": Kind("Qualcomm NPU"),
    "openvino": Kind("OpenVINO inside ONNX Runtime"),
}


def base_name(device: str) -> str:
    """A device without its number: ``cuda`` of ``cuda:1``, ``gpu`` of ``gpu.0``."""
    return device.partition(":")[0].partition(".")[0]


def is_gpu(device: str) -> bool:
    kind = DEVICES.get(base_name(device))
    return kind is not None and kind.gpu
