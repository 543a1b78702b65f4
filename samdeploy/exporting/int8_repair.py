"""An int8 export that misses its gate: the worst layers return to float until it holds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from samdeploy.bundle import SourceRecord, VerificationRecord
from samdeploy.errors import RuntimeUnavailableError
from samdeploy.options import options_of
from samdeploy.precision import FP32
from samdeploy.schemes import Scheme, scheme_of, schemes
from samdeploy.session import ExportOptions, Graph
from samdeploy.table import format_table

if TYPE_CHECKING:
    from samdeploy.models.loaded import ModelFacts

#: Of the parts of an encoder, those that may return to float: with more, int8 gains nothing.
_MOST = 0.5
_SHOWN = 8
#: Options that are for a scheme and ask for none.
_SERVING = {"data", "float_layers"}


@dataclasses.dataclass(frozen=True)
class Attempt:
    """The outcome of one way to export: graphs, and how far they are from the reference."""

    options: ExportOptions
    facts: ModelFacts
    source: SourceRecord
    graphs: tuple[Graph, ...]
    record: VerificationRecord
    #: In other arithmetic that was asked for.
    further: tuple[VerificationRecord, ...] = ()


Build = Callable[[ExportOptions], Attempt]


def repairable(options: ExportOptions) -> bool:
    """Whether layers that cost most can return to float, and none was named already."""
    return bool(getattr(options, "int8", False)) and getattr(options, "float_layers", None) == ()


def repair(
    missed: Attempt,
    build: Build,
    rank: Callable[[], Mapping[str, float]],
    say: Callable[[str], None],
) -> Attempt:
    """Export again with 1, 2, 4, ... of the worst layers in float32; the last attempt.

    Args:
        missed: the attempt whose every layer is int8.
        rank: error of the embedding by layer or block in 8 bits, the worst first; empty where
            nobody can tell, and nothing is tried.
    """
    say(f"int8 misses its gate ({_numbers(missed.record)}); looking for the layers that cost most")
    errors = rank()
    if not errors:
        return missed
    say(_table(errors))
    names, attempt = list(errors), missed
    for step in range(1 + int(math.log2(max(1, len(names) * _MOST)))):
        layers = tuple(names[: 2**step])
        kept: dict[str, Any] = {"float_layers": layers}
        attempt = build(dataclasses.replace(missed.options, **kept))
        verdict = "passes" if attempt.record.passed else "misses its gate"
        say(f"float again: {', '.join(layers)}; {verdict} ({_numbers(attempt.record)})")
        if attempt.record.passed:
            break
    return attempt


def nearest(missed: ExportOptions, build: Build) -> str:
    """Options to pass instead of those that miss their gate, tried from the smallest artifact up;
    empty when nothing passes."""
    scheme, known = scheme_of(missed), schemes()
    for name in scheme.instead:
        options = _with_scheme(missed, known[name])
        if options is None or options == missed:
            continue
        with suppress(RuntimeUnavailableError):  # a library that it needs is not installed
            record = build(options).record
            if record.passed:
                words = known[name].words
                return f"pass {words} instead of {scheme.words}, which passes ({_numbers(record)})"
    plain = _with_scheme(missed, known[FP32])
    if scheme.name != FP32 and plain is not None:
        record = build(plain).record
        if record.passed:
            return f"leave {scheme.words} out: float32 passes ({_numbers(record)})"
    return ""


def _with_scheme(options: ExportOptions, scheme: Scheme) -> ExportOptions | None:
    """``options`` that ask for ``scheme`` alone; ``None`` where the exporter has none such."""
    own = options_of(type(options))
    if not set(scheme.options) <= set(own):
        return None
    asking = {name for each in schemes().values() for name in each.options}
    plain = {name: own[name].default for name in (asking | _SERVING) & set(own)}
    changes: dict[str, Any] = {**plain, **scheme.options}
    return dataclasses.replace(options, **changes)


def _numbers(record: VerificationRecord) -> str:
    mean = f"{record.kind} IoU mean {record.iou_mean:.4f}"
    return f"{mean}, expected {record.tolerance:g} or more"


def _table(errors: Mapping[str, float]) -> str:
    rows = [[name, f"{error:.4f}"] for name, error in list(errors.items())[:_SHOWN]]
    if len(errors) > _SHOWN:
        rows.append([f"{len(errors) - _SHOWN} more", "smaller"])
    return format_table(["in 8 bits alone", "error of the embedding"], rows)
