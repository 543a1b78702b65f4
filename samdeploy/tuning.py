"""``tune.json``: how a bundle runs fastest on the machine that it was tuned on."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from samdeploy.cuda_driver import find_gpus
from samdeploy.errors import BundleError
from samdeploy.json_files import UnreadableError, decode_json, read_regular
from samdeploy.precision import FP32, arithmetic_name
from samdeploy.processor import cpu_name
from samdeploy.session import MOST_THREADS, RuntimeOptions
from samdeploy.whole_image.settings import COUNTS

#: The choice, and a page that shows it.
TUNING, TUNING_PAGE = "tune.json", "tune.html"

_LONGEST = 1 << 20  # bytes
_Seconds: TypeAlias = Annotated[float, Meta(ge=0)]


class Row(msgspec.Struct, frozen=True):
    """One way to run the model, as it was tried.

    Attributes:
        format, made: what was exported, and the scheme of its weights (:mod:`samdeploy.schemes`).
        threads, points_batch_size: as for :class:`samdeploy.SAM` and whole-image mode; 0 threads on
            a GPU, which has none to choose.
        status: ``passed``, ``missed`` (its accuracy gate), ``failed`` or ``not tried``.
        seconds: of the goal, median.
        mask_iou_mean, mask_iou_p5: against the float32 reference in torch.
        ran_on: provider.
        arithmetic: what the graphs computed in, see :mod:`samdeploy.precision`.
    """

    format: str
    made: str
    threads: Annotated[int, Meta(ge=0, le=MOST_THREADS)]
    points_batch_size: Annotated[int, Meta(ge=1, le=COUNTS["points_batch_size"][1])]
    status: Literal["passed", "missed", "failed", "not tried"]
    note: str = ""
    seconds: _Seconds | None = None
    mask_iou_mean: float | None = None
    mask_iou_p5: float | None = None
    bytes: int = 0
    ran_on: str = ""
    arithmetic: str = FP32

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "arithmetic", arithmetic_name(self.arithmetic))


class Tuning(msgspec.Struct, frozen=True):
    """The choice and all that it was chosen from.

    ``machine`` is the processor, its number of cores and the NVIDIA GPUs: on another one the choice
    may be wrong and is not used.
    """

    machine: str
    device: str
    goal: str
    chosen: Row
    rows: Annotated[tuple[Row, ...], Meta(max_length=1000)]
    budget: _Seconds
    took: _Seconds
    schema_version: Annotated[int, Meta(ge=1, le=1)] = 1


def machine() -> str:
    """Such as ``AMD EPYC 9654, 96 cores, NVIDIA H100``; never raises."""
    gpus = (gpu.name for gpu in find_gpus()[0])
    return ", ".join((cpu_name(), f"{os.cpu_count()} cores", *gpus))


def read_tuning(bundle: Path) -> Tuning | None:
    """The tuning of a bundle on this machine; ``None`` when it was not.

    Raises:
        BundleError: there is a ``tune.json`` that cannot be read.
    """
    path = bundle / TUNING
    if not os.path.lexists(path):
        return None
    try:
        found = decode_json(read_regular(path, _LONGEST), Tuning)
    except UnreadableError as error:
        raise BundleError(f"'{path}' is not valid ({error}); remove it or tune again.") from error
    return found if found.machine == machine() else None


def tuned(options: RuntimeOptions, tuning: Tuning) -> RuntimeOptions:
    """``options`` with the tuned number of threads, unless one was given."""
    if options.threads is not None or tuning.chosen.threads == 0:
        return options
    return replace(options, threads=tuning.chosen.threads)
