"""An int8 export that misses its gate: the worst layers return to float until it holds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from samdeploy.bundle import SourceRecord, VerificationRecord
from samdeploy.errors import RuntimeUnavailableError
from samdeploy.session import ExportOptions, Graph
from samdeploy.table import format_table

if TYPE_CHECKING:
    from samdeploy.models.families import ModelFacts

#: Of the parts of an encoder, those that may return to float: with more, int8 gains nothing.
_MOST = 0.5
_SHOWN = 8
#: By option that may miss its gate, what to try instead, the smallest artifact first.
_INSTEAD = {
    "int8": (("int8", "weights_only"), ("half",), ("bf16",)),
    "palette_bits": (("int8",), ("half",)),
    "half": (("bf16",),),
    "bf16": (("half",),),
}


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
    asked = next((name for name in _INSTEAD if getattr(missed, name)), "")
    given = f"{asked}={getattr(missed, asked)}" if asked else ""
    missed = dataclasses.replace(missed, data="", float_layers=())
    plain = dataclasses.replace(
        missed, int8=False, weights_only=False, palette_bits=0, half=False, bf16=False
    )
    for instead in _INSTEAD.get(asked, ()):
        chosen: dict[str, Any] = dict.fromkeys(instead, True)
        options = dataclasses.replace(plain, **chosen)
        if options == missed or not set(instead) <= set(heeded):
            continue
        with suppress(RuntimeUnavailableError):  # a library that it needs is not installed
            record = build(options).record
            if record.passed:
                words = " ".join(f"{name}=True" for name in instead)
                return f"pass {words} instead of {given}, which passes ({_numbers(record)})"
    if asked:
        record = build(plain).record
        if record.passed:
            return f"leave {given} out: float32 passes ({_numbers(record)})"
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
