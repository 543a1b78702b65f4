"""Timing one subject in the process it has to itself.

Every timing ends when the result is in the host's memory as an array, so a GPU has finished by
then: no timing is of a queued kernel.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from samdeploy.benchmarks.environment import gpu_memory_used
from samdeploy.benchmarks.jobs import PROMPTS, Job, Outcome

Pixels = NDArray[np.uint8]
Points = NDArray[np.float64]

#: What each timing covers.
MEANING = {
    "load": "import the library and open the model; once per process",
    "encode": "image array to embedding, with the resizing",
    "click": "1 prompt of one point, embedding ready, to one mask of the image's size",
    "image_to_mask": "image array to embedding to one mask of the image's size",
    "decode_1": "1 prompt of one point, embedding ready, to three low-res masks and their scores",
    "decode_16": "the same for 16 prompts in one call",
    "decode_64": "the same for 64 prompts in one call",
    "whole_image": "image array to all masks of the image",
}


class Subject(Protocol):
    """Something that segments: our model on one runtime, or a peer.

    Points are (x, y) in image pixels, ``[N, 2]``; the image is the one last encoded.
    """

    provider: str
    artifact_bytes: int

    def encode(self, image: Pixels) -> None:
        """``image`` is RGB uint8 ``[H, W, 3]``; the embedding stays inside."""
        ...

    def decode(self, points: Points) -> NDArray[np.float32]:
        """Low-res logits ``[N, 3, s, s]`` of ``N`` prompts of one foreground point each."""
        ...

    def click(self, point: Points) -> NDArray[np.bool_]:
        """One mask ``[H, W]`` of one point ``[1, 2]``."""
        ...

    def generate(self, image: Pixels, settings: dict[str, Any]) -> int:
        """Segment the whole image; the number of masks."""
        ...


class NoWholeImageModeError(Exception):
    """The subject has none."""


class NoPromptsError(Exception):
    """The subject goes from image to masks in one pass."""


def spread_points(count: int, image: Pixels) -> Points:
    """``[count, 2]`` points inside ``image``, the same for everyone."""
    height, width = image.shape[:2]
    share = np.random.default_rng(0).uniform(0.05, 0.95, (count, 2))
    return np.asarray(share * (width, height), np.float64)


def timed(function: Callable[[], Any], warmup: int, rounds: int) -> list[float]:
    """Seconds of each of ``rounds`` calls after ``warmup`` calls."""
    seconds = []
    for index in range(warmup + rounds):
        started = time.perf_counter()
        function()
        if index >= warmup:
            seconds.append(time.perf_counter() - started)
    return seconds


def measure(load: Callable[[], Subject], job: Job) -> Outcome:
    """The timings of ``job``: whole-image mode alone, so that its memory is its own, or all else.

    Also writes the logits that the parent compares.
    """
    image: Pixels = np.load(job.image)
    found = _Findings(job, gpu_memory_used())
    started = time.perf_counter()
    subject = load()
    found.seconds["load"] = [time.perf_counter() - started]
    found.stage("load")
    masks = None
    if job.whole_image is None:
        _measure_prompts(subject, image, found)
    else:
        masks = _measure_whole_image(subject, image, job.whole_image, found)
    return Outcome(
        provider=subject.provider,
        artifact_bytes=subject.artifact_bytes,
        seconds=found.seconds,
        peaks=found.peaks,
        gpu_peak_bytes=None if found.gpu_before is None else found.gpu_peak,
        masks=masks,
    )


class _Findings:
    """Seconds and peaks as they come in."""

    def __init__(self, job: Job, gpu_before: int | None) -> None:
        self.job, self.gpu_before, self.gpu_peak = job, gpu_before, 0
        self.seconds: dict[str, list[float]] = {}
        self.peaks: dict[str, int] = {}

    def time(self, name: str, function: Callable[[], Any]) -> None:
        self.seconds[name] = timed(function, self.job.warmup, self.job.rounds)

    def stage(self, name: str) -> None:
        self.peaks[name] = peak_memory()
        if self.gpu_before is not None:
            self.gpu_peak = max(self.gpu_peak, (gpu_memory_used() or 0) - self.gpu_before)


def _measure_prompts(subject: Subject, image: Pixels, found: _Findings) -> None:
    try:
        found.time("encode", lambda: subject.encode(image))
    except NoPromptsError:
        return
    found.stage("encode")
    one = spread_points(1, image)
    found.time("click", lambda: subject.click(one))

    def image_to_mask() -> None:
        subject.encode(image)
        subject.click(one)

    found.time("image_to_mask", image_to_mask)
    found.stage("click")
    for count in PROMPTS:
        points = spread_points(count, image)
        found.time(f"decode_{count}", partial(subject.decode, points))
    found.stage("prompts")
    np.save(found.job.logits, subject.decode(spread_points(16, image)))


def _measure_whole_image(
    subject: Subject, image: Pixels, settings: dict[str, Any], found: _Findings
) -> int | None:
    counts: list[int] = []
    try:
        # One batch of prompts warms up what a full grid would.
        for _ in range(found.job.warmup):
            subject.generate(
                image, {**settings, "points_stride": min(8, settings["points_stride"])}
            )
        rounds = found.job.whole_image_rounds
        found.seconds["whole_image"] = timed(
            lambda: counts.append(subject.generate(image, settings)), 0, rounds
        )
    except NoWholeImageModeError:
        return None
    found.stage("whole_image")
    return counts[-1]


def peak_memory() -> int:
    """Largest resident size of this process in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage would report the parent's peak when that was larger.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return _peak_on_windows()
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class _Counters(ctypes.Structure):
    """``PROCESS_MEMORY_COUNTERS`` of Windows."""

    _fields_: ClassVar = [
        ("cb", ctypes.c_uint32),
        ("PageFaultCount", ctypes.c_uint32),
        ("PeakWorkingSetSize", ctypes.c_size_t),
        *((f"other{index}", ctypes.c_size_t) for index in range(7)),
    ]


def _peak_on_windows() -> int:
    kernel: Any = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined,unused-ignore]
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    kernel.K32GetProcessMemoryInfo.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32)
    found = _Counters(cb=ctypes.sizeof(_Counters))
    process = kernel.GetCurrentProcess()
    if not kernel.K32GetProcessMemoryInfo(process, ctypes.byref(found), found.cb):
        raise OSError("Windows does not tell the memory of this process")
    return int(found.PeakWorkingSetSize)
