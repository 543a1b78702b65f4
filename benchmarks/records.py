"""The report of a benchmark: immutable, versioned records that carry their conditions.

A report is never changed after it was written; comparing two makes a new record. Times are in
seconds, sizes in bytes.
"""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from samdeploy.errors import InputError
from samdeploy.json_files import (
    UnreadableError,
    check_version,
    decode_json,
    encode_json,
    read_regular,
)

SCHEMA_VERSION = 1
_LONGEST = 64 << 20  # bytes; a report of many cases has some ten thousand

#: What is divided by when two reports are compared.
Seconds: TypeAlias = Annotated[float, Meta(gt=0)]
Bytes: TypeAlias = Annotated[int, Meta(ge=1, le=1 << 62)]


class Statistics(msgspec.Struct, frozen=True):
    """Repeated measurements of one thing: ``samples`` in the order they were taken, their median
    and quartiles (linear interpolation between samples)."""

    samples: tuple[Seconds, ...]
    median: Seconds
    lower_quartile: Seconds
    upper_quartile: Seconds

    @property
    def spread(self) -> float:
        """Interquartile range; 0 for a single sample."""
        return self.upper_quartile - self.lower_quartile

    @classmethod
    def of(cls, samples: Sequence[float]) -> Statistics:
        if len(samples) > 1:
            low, middle, high = statistics.quantiles(samples, n=4, method="inclusive")
        else:
            low = middle = high = samples[0]
        return cls(tuple(samples), middle, low, high)


class Gpu(msgspec.Struct, frozen=True):
    name: str
    driver: str
    memory_bytes: int


class Environment(msgspec.Struct, frozen=True):
    """The machine. ``cpu_flags`` are the instruction sets that inference libraries look for."""

    cpu: str
    cpu_flags: tuple[str, ...]
    logical_cpus: int
    memory_bytes: int
    system: str
    gpus: tuple[Gpu, ...]
    versions: dict[str, str]


class Device(msgspec.Struct, frozen=True):
    """A device that a model could run on; when nothing offers it, ``reason`` says why."""

    name: str
    meaning: str
    runtimes: tuple[str, ...]
    reason: str = ""


class Conditions(msgspec.Struct, frozen=True):
    """How the measurements were taken; reports under unlike conditions are not compared.

    ``whole_image`` are the settings of whole-image mode, ``None`` when it was left out.
    ``substituted`` says that the decoder's outputs were replaced, see
    :mod:`samdeploy.benchmarks.substitution`. ``imgsz`` and ``config`` are what was asked for where
    the model's own were not taken.
    """

    image_size: tuple[int, int]
    image_sha256: str
    threads: int | None
    warmup: int
    rounds: int
    repeats: int
    whole_image_rounds: int
    whole_image: dict[str, Any] | None
    substituted: bool
    imgsz: int | None = None
    config: dict[str, Any] | None = None


class Case(msgspec.Struct, frozen=True):
    """One row: what was measured, or why it was not.

    Attributes:
        name: such as ``onnx`` or ``openvino:fp32``; for a peer its name.
        status: ``ok``, ``failed`` (it should have run), or ``absent`` (it cannot run here).
        note: the reason when it is not ``ok``; else what a reader must know about the figures.
        precision: that of the artifact; ``provider`` says what inference really used.
        malloc: ``default`` or ``tuned``, see :mod:`samdeploy.benchmarks.processes`.
        artifact_bytes: size of the files that are needed to run.
        timings: by name, see :data:`samdeploy.benchmarks.measure.MEANING`.
        peaks: largest resident size of the process so far, after each stage: ``load``, ``encode``,
            ``click``, ``prompts``, and of a process of its own ``whole_image``.
        gpu_peak_bytes: most GPU memory that was in use after a stage beyond what was before.
        masks: how many masks whole-image mode found.
        mask_iou_mean, mask_iou_min: against the torch reference; ``None`` without one.
        architecture, parameters: where models are compared: its name, and how many trained
            numbers it has.
    """

    name: str
    device: str
    status: str
    note: str = ""
    runtime: str = ""
    precision: str = ""
    provider: str = ""
    malloc: str = "default"
    artifact_bytes: int | None = None
    timings: dict[str, Statistics] = {}
    peaks: dict[str, Bytes] = {}
    gpu_peak_bytes: int | None = None
    masks: int | None = None
    mask_iou_mean: float | None = None
    mask_iou_min: float | None = None
    architecture: str = ""
    parameters: int | None = None

    @property
    def label(self) -> str:
        """The name, with what else tells it from other rows."""
        return self.name + (" (tuned malloc)" if self.malloc == "tuned" else "")


class Published(msgspec.Struct, frozen=True):
    """A figure that others published, for orientation: it was measured elsewhere."""

    name: str
    milliseconds: float
    megabytes: float
    measures: str
    conditions: str
    source: str


class Report(msgspec.Struct, frozen=True):
    """Everything of one run. ``kind`` is ``formats``, ``peers`` or ``models``; ``reference`` is
    what the masks were compared with; ``weights`` is ``checkpoint``, or says how they were made
    up."""

    schema_version: int
    kind: str
    created: str
    model: str
    reference: str
    weights: str
    conditions: Conditions
    environment: Environment
    devices: tuple[Device, ...]
    cases: tuple[Case, ...]
    published: tuple[Published, ...] = ()


def encode(report: Report) -> bytes:
    return encode_json(report)


def read_report(path: str | Path) -> Report:
    """Read a stored report.

    Raises:
        InputError: no such file, not a report, or one of a newer version.
    """
    try:
        content = read_regular(Path(path), _LONGEST)
    except UnreadableError as error:
        raise InputError(
            f"report '{path}' cannot be read ({error}); expected the JSON file of a benchmark."
        ) from error
    try:
        check_version(Path(path), content, SCHEMA_VERSION, InputError, "")
        return decode_json(content, Report)
    except UnreadableError as error:
        raise InputError(
            f"'{path}' is not a benchmark report ({error}); expected the JSON file of a benchmark."
        ) from error


def image_hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
