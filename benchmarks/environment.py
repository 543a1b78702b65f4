"""The machine: processor, memory, GPUs, system and library versions."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version

from samdeploy.benchmarks.records import Environment, Gpu
from samdeploy.processor import cpu_flags, cpu_name

#: Distributions that can change a figure.
_DISTRIBUTIONS = (
    "samdeploy", "numpy", "opencv-python-headless", "pillow", "onnxruntime", "onnxruntime-gpu",
    "onnxruntime-qnn", "openvino", "torch", "coremltools", "tensorrt", "tensorrt-rtx-cu13-libs",
    "MNN", "executorch", "ai-edge-litert", "rknn-toolkit-lite2", "ultralytics", "transformers",
    "segment-anything", "mobilesam-mirror", "sam2", "samexporter",
)  # fmt: skip


def read_environment() -> Environment:
    """Ask the system; what it does not tell is an empty string or 0."""
    return Environment(
        cpu=cpu_name(),
        cpu_flags=cpu_flags(),
        logical_cpus=os.cpu_count() or 0,
        memory_bytes=_memory(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        gpus=read_gpus(),
        versions={
            "python": platform.python_version(),
            **{name: found for name in _DISTRIBUTIONS if (found := installed(name))},
        },
    )


def installed(distribution: str) -> str:
    """The version of an installed distribution, or an empty string."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def read_gpus() -> tuple[Gpu, ...]:
    """NVIDIA GPUs, as ``nvidia-smi`` lists them; none where it is not installed."""
    rows = nvidia_smi("name,driver_version,memory.total")
    return tuple(Gpu(name, driver, int(total) << 20) for name, driver, total in rows)


def gpu_memory_used() -> int | None:
    """Bytes in use on all NVIDIA GPUs together, by whoever; ``None`` where there is none."""
    rows = nvidia_smi("memory.used")
    return sum(int(row[0]) for row in rows) << 20 if rows else None


def nvidia_smi(fields: str) -> list[list[str]]:
    """One row of values per GPU; empty where there is no driver."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    done = subprocess.run(
        [tool, f"--query-gpu={fields}", "--format=csv,noheader,nounits"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        return []
    return [[value.strip() for value in line.split(",")] for line in done.stdout.splitlines()]


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has none of it
        return 0
