"""``samdeploy benchmark compare``: two stored reports, case by case, as ratios."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from samdeploy.benchmarks.records import Report, Statistics, read_report
from samdeploy.benchmarks.tables import timing_names
from samdeploy.errors import InputError
from samdeploy.table import format_table

#: Versions of these may differ: what they changed is what is compared.
_OURS = ("samdeploy",)
_SAID = {True: "yes", False: "no", None: "-"}


class Ratio(msgspec.Struct, frozen=True):
    """``second`` over ``first`` of one figure of one case: below 1, the second is better.

    ``distinct`` tells whether the quartiles of the two do not overlap; of less, nothing can be
    said. It is ``None`` where either was measured once, as peaks are.
    """

    case: str
    device: str
    figure: str
    first: float
    second: float
    ratio: float
    distinct: bool | None


@dataclass(frozen=True)
class Comparison:
    """``unlike`` names what differs between the two runs beside the cases."""

    ratios: tuple[Ratio, ...]
    unlike: tuple[str, ...]

    def text(self) -> str:
        """The table for a terminal; the unlike conditions come first."""
        header = ["case", "device", "figure", "first", "second", "second / first", "beyond spread"]
        rows = [
            [
                ratio.case, ratio.device, ratio.figure, f"{ratio.first:.4g}",
                f"{ratio.second:.4g}", f"{ratio.ratio:.3f}", _SAID[ratio.distinct],
            ]
            for ratio in self.ratios
        ]  # fmt: skip
        warning = [f"UNLIKE CONDITIONS (forced): {'; '.join(self.unlike)}"] if self.unlike else []
        return "\n".join([*warning, format_table(header, rows)])


def compare(first: str | Path, second: str | Path, *, force: bool = False) -> Comparison:
    """Ratios of the second report to the first: times in seconds, memory in bytes.

    Raises:
        InputError: a report cannot be read, the two have no case in common, or they were taken
            under unlike conditions and ``force`` is not set.
    """
    a, b = read_report(first), read_report(second)
    unlike = tuple(differences(a, b))
    if unlike and not force:
        raise InputError(
            f"'{first}' and '{second}' were taken under unlike conditions ({'; '.join(unlike)}); "
            "run both on one machine with the same options, or pass force=True."
        )
    ratios = tuple(_ratios(a, b))
    if not ratios:
        raise InputError(f"'{first}' and '{second}' have no measured case in common.")
    return Comparison(ratios, unlike)


def differences(a: Report, b: Report) -> list[str]:
    """Differences in machine, conditions or weights, as ``name: this, that``."""
    found = []
    for name in ("kind", "model", "weights"):
        found += _differs(name, getattr(a, name), getattr(b, name))
    for part in ("conditions", "environment"):
        first, second = (msgspec.structs.asdict(getattr(report, part)) for report in (a, b))
        for name, value in first.items():
            if name != "versions":
                found += _differs(name, value, second[name])
    ours, theirs = a.environment.versions, b.environment.versions
    for name in sorted((ours.keys() | theirs.keys()) - set(_OURS)):
        found += _differs(name, ours.get(name, "absent"), theirs.get(name, "absent"))
    return found


def _differs(name: str, first: object, second: object) -> list[str]:
    return [] if first == second else [f"{name}: {first}, {second}"]


def _ratios(a: Report, b: Report) -> list[Ratio]:
    known = {(case.label, case.device): case for case in b.cases}
    ratios = []
    for case in a.cases:
        other = known.get((case.label, case.device))
        if other is None:
            continue
        for name in timing_names([case]):
            if name in other.timings:
                ratios.append(_ratio(case.label, case.device, name, case.timings, other.timings))
        sizes = [(name, case.peaks[name], other.peaks.get(name)) for name in case.peaks]
        ratios += [
            Ratio(case.label, case.device, f"peak after {name}", x, y, y / x, None)
            for name, x, y in sizes
            if y is not None
        ]
    return ratios


def _ratio(
    label: str, device: str, name: str, a: dict[str, Statistics], b: dict[str, Statistics]
) -> Ratio:
    x, y = a[name], b[name]
    distinct = None
    if min(len(x.samples), len(y.samples)) > 1:
        distinct = x.upper_quartile < y.lower_quartile or y.upper_quartile < x.lower_quartile
    return Ratio(label, device, name, x.median, y.median, y.median / x.median, distinct)
