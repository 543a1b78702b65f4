"""Timing one subject in the process it has to itself.

Every timing ends when the result is in the host's memory as an array, so a GPU has finished by
then: no timing is of a queued kernel.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .environment import gpu_memory_used
from .jobs import PROMPTS, Job, Outcome

Pixels = NDArray[np.uint8]
Points = NDArray[np.float64]

#: What each timing covers.
MEANING = {
    "load": "import the library and open the model; once per process",
    "encode": "image array to embedding, with the resizing",
    "decode_1": "1 prompt of one point, embedding ready, to three low-res masks and their scores",
    "decode_16": "the same for 16 prompts in one call",
    "decode_64": "the same for 64 prompts in one call",
    "click": "1 prompt of one point, embedding ready, to one mask of the image's size",
    "image_to_mask": "image array to embedding to one mask of the image's size",
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
    """All timings of ``job``; also writes the logits that the parent compares."""
    image: Pixels = np.load(job.image)
    seconds: dict[str, list[float]] = {}
    peaks: dict[str, int] = {}
    gpu_before = gpu_memory_used()
    gpu_peak = 0

    def stage(name: str) -> None:
        nonlocal gpu_peak
        peaks[name] = peak_memory()
        gpu_peak = max(gpu_peak, (gpu_memory_used() or 0) - (gpu_before or 0))

    def time_of(function: Callable[[], Any]) -> list[float]:
        return timed(function, job.warmup, job.rounds)

    started = time.perf_counter()
    subject = load()
    seconds["load"] = [time.perf_counter() - started]
    stage("load")
    seconds["encode"] = time_of(lambda: subject.encode(image))
    stage("encode")
    for count in PROMPTS:
        points = spread_points(count, image)
        seconds[f"decode_{count}"] = time_of(lambda points=points: subject.decode(points))  # type: ignore[misc]
    np.save(job.logits, subject.decode(spread_points(16, image)))
    one = spread_points(1, image)
    seconds["click"] = time_of(lambda: subject.click(one))

    def image_to_mask() -> None:
        subject.encode(image)
        subject.click(one)

    seconds["image_to_mask"] = time_of(image_to_mask)
    stage("prompts")
    masks = None
    if job.whole_image is not None:
        settings = job.whole_image
        counts: list[int] = []
        try:
            seconds["whole_image"] = timed(
                lambda: counts.append(subject.generate(image, settings)), 0, job.whole_image_rounds
            )
            masks = counts[-1]
            stage("whole_image")
        except NoWholeImageModeError:
            pass  # the row then has no such timing
    return Outcome(
        provider=subject.provider,
        artifact_bytes=subject.artifact_bytes,
        seconds=seconds,
        peaks=peaks,
        gpu_peak_bytes=None if gpu_before is None else gpu_peak,
        masks=masks,
    )


def peak_memory() -> int:
    """Largest resident size of this process in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage would report the parent's peak when that was larger.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
