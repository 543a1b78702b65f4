"""The processor: its name, its instruction sets, and what they mean for reduced precision."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

from samdeploy.session import Availability

#: Instruction sets that decide which kernels an inference library takes; the names are Linux's and,
#: after ``hw.optional.arm.FEAT_``, Apple's.
FLAGS = (
    "avx", "avx2", "f16c", "fma", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16",
    "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8", "asimd", "asimddp", "asimdhp", "bf16",
    "i8mm", "sve", "sve2", "sme",
)  # fmt: skip

#: By arithmetic: the instruction sets that make it fast, Apple's names among them, and what is to
#: be expected without.
INSTRUCTIONS = {
    "fp32": (("avx512f", "avx2", "asimd", "advsimd"), "inference is slow"),
    "bf16": (
        ("amx_bf16", "avx512_bf16", "bf16"),
        "precision=bf16 is refused, or slow",
    ),
    "fp16": (
        ("avx512_fp16", "asimdhp", "fp16"),
        "half=True halves the files and is not faster",
    ),
    "int8": (
        ("amx_int8", "avx512_vnni", "avx_vnni", "i8mm", "asimddp", "dotprod"),
        "int8=True shrinks the files and is hardly faster",
    ),
}
_APPLE = ("advsimd", "fp16", "dotprod")


def cpu_name() -> str:
    return _cpu_info("model name") or _sysctl("machdep.cpu.brand_string") or platform.processor()


def usable_cores() -> int:
    """Logical processors that this process may use, which in a container may be few of all."""
    allowed = getattr(os, "sched_getaffinity", None)  # Linux has it
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def cpu_flags() -> tuple[str, ...]:
    """Those of :data:`FLAGS` that the processor has, as far as the system tells."""
    found = set((_cpu_info("flags") or _cpu_info("Features")).split())
    if platform.system() == "Darwin":
        lines = _sysctl_lines("hw.optional")
        names = {line.partition(":")[0].lower() for line in lines if line.endswith(": 1")}
        found |= {name.rpartition("feat_")[2].rpartition(".")[2] for name in names}
    return tuple(flag for flag in (*FLAGS, *_APPLE) if flag in found)


def arithmetic() -> dict[str, Availability]:
    """By arithmetic, whether this processor has instructions for it."""
    flags, name = cpu_flags(), cpu_name()
    states = {}
    for kind, (wanted, without) in INSTRUCTIONS.items():
        found = tuple(flag for flag in wanted if flag in flags)
        reason = "" if found else f"no {', '.join(wanted)}: {without}"
        states[kind] = Availability(devices=found, reason=reason, version=name)
    return states


def _cpu_info(field: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")


def _sysctl(name: str) -> str:
    return next((line.partition(":")[2].strip() for line in _sysctl_lines(name)), "")


def _sysctl_lines(name: str) -> list[str]:
    tool = shutil.which("sysctl")
    if tool is None or platform.system() != "Darwin":
        return []
    done = subprocess.run([tool, name], capture_output=True, text=True, check=False)
    return done.stdout.splitlines()
