"""A report as one HTML file that needs nothing else: no scripts, fonts or pictures from outside."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from samdeploy.benchmarks.plots import bar_chart
from samdeploy.benchmarks.records import Report, Statistics
from samdeploy.benchmarks.tables import Table, tables, timing_names

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 78rem; padding: 0 1rem;
       color: #1d2733; }
h2 { margin-top: 2.2rem; font-size: 1.15rem; }
table { border-collapse: collapse; font-size: 0.87rem; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid #d5dce4; padding: 0.3rem 0.8rem 0.3rem 0; text-align: left;
         vertical-align: top; }
svg { display: block; margin: 1.2rem 0; max-width: 100%; font: 13px system-ui, sans-serif; }
svg rect { fill: #3b7dd8; } svg path { stroke: #12233d; stroke-width: 2; }
svg .title { font-weight: 600; }
"""


def html_page(report: Report) -> str:
    lead = f"Weights: {report.weights}. {report.created}."
    return page(f"Benchmark of {report.model}", lead, _charts(report), tables(report))


def page(title: str, lead: str, charts: Iterable[str], shown: Iterable[Table]) -> str:
    """A heading, a sentence, charts (SVG) and tables."""
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(title)}</h1><p>{escape(lead)}</p>",
            *charts,
            *map(_table, shown),
            "</body></html>\n",
        ]
    )


def _charts(report: Report) -> list[str]:
    """A chart per timing, and one per stage of memory."""
    cases = [case for case in report.cases if case.timings]
    charts = [
        bar_chart(
            name, [(case.label, case.timings[name]) for case in cases if name in case.timings],
            "ms", 1e3,
        )
        for name in timing_names(cases)
    ]  # fmt: skip
    memory = []
    for stage in {stage: None for case in cases for stage in case.peaks}:
        known = [case for case in cases if stage in case.peaks]
        bars = [(case.label, Statistics.of([case.peaks[stage]])) for case in known]
        memory.append(bar_chart(f"peak memory, {stage}", bars, "GB", 1e-9))
    return [*charts, *memory]


def _table(table: Table) -> str:
    def row(cells: object, tag: str) -> str:
        assert isinstance(cells, (list, tuple))
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    rows = "".join(row(cells, "td") for cells in table.rows)
    return f"<h2>{escape(table.title)}</h2><table>{row(table.header, 'th')}{rows}</table>"
