"""The job of a fresh process, and its outcome."""

from __future__ import annotations

from typing import Any

import msgspec

#: Numbers of prompts in the timings ``decode_1``, ``decode_16`` and ``decode_64``.
PROMPTS = (1, 16, 64)


class Job(msgspec.Struct, frozen=True):
    """One subject under one set of conditions.

    Attributes:
        subject: a name in :data:`samdeploy.benchmarks.worker.SUBJECTS`.
        model: bundle folder, checkpoint, or what the peer's ``prepare`` made.
        image: ``.npy`` file, RGB uint8 ``[H, W, 3]``.
        architecture: published name such as ``sam_b``; only peers need it.
        device, runtime, precision, threads, imgsz, config: as for :class:`samdeploy.SAM`.
        warmup, rounds: calls before and in each timing; ``whole_image_rounds`` for that mode.
        whole_image: settings of whole-image mode, which is then all that is measured; ``None``
            measures everything else.
        substitute: replace the decoder's outputs in whole-image mode.
        logits: ``.npy`` file to write the low-res logits of sixteen prompts to.
        program: path of ``samdeploy-cli``; only the C++ runtime needs it.
    """

    subject: str
    model: str
    image: str
    logits: str
    architecture: str = ""
    device: str = "cpu"
    runtime: str | None = None
    precision: str | None = None
    threads: int | None = None
    imgsz: int | None = None
    config: Any = None
    warmup: int = 1
    rounds: int = 5
    whole_image_rounds: int = 3
    whole_image: dict[str, Any] | None = None
    substitute: bool = False
    program: str = ""


class Outcome(msgspec.Struct, frozen=True):
    """``seconds`` by timing, none where the subject has no such mode; ``peaks``: the process's
    largest resident size so far, in bytes, after each stage; ``masks`` of whole-image mode."""

    provider: str
    artifact_bytes: int
    seconds: dict[str, list[float]]
    peaks: dict[str, int]
    gpu_peak_bytes: int | None = None
    masks: int | None = None
