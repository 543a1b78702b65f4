"""An int8 export that misses its gate: the worst layers return to float until it holds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from samdeploy.bundle import SourceRecord, VerificationRecord
from samdeploy.session import ExportOptions, Graph
from samdeploy.table import format_table

if TYPE_CHECKING:
    from samdeploy.models.families import ModelFacts

#: Of the parts of an encoder, those that may return to float: with more, int8 gains nothing.
_MOST = 0.5
_SHOWN = 8


@dataclasses.dataclass(frozen=True)
class Attempt:
    """What one way to export gave: its graphs, and how far they are from the reference."""

    options: ExportOptions
    facts: ModelFacts
    source: SourceRecord
    graphs: tuple[Graph, ...]
    record: VerificationRecord


Build = Callable[[ExportOptions], Attempt]


def repair(
    missed: Attempt,
    build: Build,
    rank: Callable[[], Mapping[str, float]],
    say: Callable[[str], None],
) -> Attempt:
    """Export again with 1, 2, 4, ... of the worst layers in float32; the last attempt.

    Args:
        missed: the attempt whose every layer is int8.
        rank: error of the embedding by layer or block in 8 bits, the worst first.
    """
    say(f"int8 misses its gate ({_numbers(missed.record)}); looking for the layers that cost most")
    errors = rank()
    say(_table(errors))
    names, attempt = list(errors), missed
    for step in range(1 + int(math.log2(max(1, len(names) * _MOST)))):
        layers = tuple(names[: 2**step])
        attempt = build(dataclasses.replace(missed.options, float_layers=layers))
        verdict = "passes" if attempt.record.passed else "misses its gate"
        say(f"float again: {', '.join(layers)}; {verdict} ({_numbers(attempt.record)})")
        if attempt.record.passed:
            break
    return attempt


def nearest(missed: ExportOptions, heeded: Iterable[str], build: Build) -> str:
    """What to pass instead of options that miss their gate, tried from the smallest artifact up;
    empty when nothing passes."""
    plain = dataclasses.replace(missed, int8=False, half=False, data="", float_layers=())
    if missed.int8 and "half" in heeded:
        record = build(dataclasses.replace(plain, half=True)).record
        if record.passed:
            return f"pass half=True instead of int8=True, which passes ({_numbers(record)})"
    if missed.int8 or missed.half:
        record = build(plain).record
        name = "int8" if missed.int8 else "half"
        if record.passed:
            return f"leave {name}=True out: float32 passes ({_numbers(record)})"
    return ""


def _numbers(record: VerificationRecord) -> str:
    kind = "box" if record.detections else "mask"
    mean = record.box_iou_mean if record.detections else record.mask_iou_mean
    return f"{kind} IoU mean {mean:.4f}, expected {record.tolerance:g} or more"


def _table(errors: Mapping[str, float]) -> str:
    rows = [[name, f"{error:.4f}"] for name, error in list(errors.items())[:_SHOWN]]
    if len(errors) > _SHOWN:
        rows.append([f"{len(errors) - _SHOWN} more", "smaller"])
    return format_table(["in 8 bits alone", "error of the embedding"], rows)
