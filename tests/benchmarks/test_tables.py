"""What people see: the terminal, Markdown and HTML."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import msgspec
import pytest

from samdeploy.benchmarks.html import html_page
from samdeploy.benchmarks.plots import bar_chart
from samdeploy.benchmarks.records import Case, Report, Statistics
from samdeploy.benchmarks.tables import markdown, tables, text_tables


def row_of(text: str, *starts: str) -> str:
    pattern = r"\s+".join(re.escape(start) for start in starts)
    return next(line for line in text.splitlines() if re.match(pattern, line))


def test_results_as_yolo_benchmark_shows_them(report: Report) -> None:
    text = text_tables(report)
    header = next(line for line in text.splitlines() if line.startswith("Format"))
    assert header.split()[:4] == ["Format", "Status❔", "Device", "Size"]
    row = row_of(text, "onnx", "✅", "cpu")
    assert row.split()[3:11] == ["12.3", "0.9987", "0.9000", "7", "-", "-", "0.25", "0.30"]
    assert row.endswith("CPUExecutionProvider")
    assert row_of(text, "onnx", "❎", "cuda")
    assert row_of(text, "torch", "❌", "cpu")


def test_latency_is_median_and_spread(report: Report) -> None:
    row = row_of(text_tables(report), "onnx", "cpu", "110")
    assert row.split() == ["onnx", "cpu", "110", "±", "10.0", "2000"]


def test_reasons_are_listed(report: Report) -> None:
    for text in (text_tables(report), markdown(report), html_page(report)):
        assert "onnxruntime offers cpu here" in text
        assert "out of memory" in text


def test_published_figures_are_labelled(report: Report) -> None:
    for text in (text_tables(report), markdown(report), html_page(report)):
        for figure in ("51096", "46122", "115", "59"):
            assert re.search(rf"\b{figure}\b", text), figure
        assert "another machine" in text
        assert "Apple M2" in text
        assert "whole image is segmented" in text
        assert "single pass of a detector" in text


def test_files_tell_the_conditions(report: Report) -> None:
    for text in (markdown(report), html_page(report)):
        for fact in ("Some CPU", "avx2", "A GPU (driver 1.2", "160 x 120", "onnxruntime 1.0"):
            assert fact in text


def test_ratios_of_peers(report: Report) -> None:
    slow = Case(
        "meta", "cpu", "ok", malloc="tuned", timings={"encode": Statistics.of([0.22])},
        peaks={"prompts": 500_000_000},
    )  # fmt: skip
    found = msgspec.structs.replace(report, kind="peers", cases=(*report.cases, slow))
    table = next(table for table in tables(found) if table.title.startswith("Ratios"))
    assert table.header == [
        "peer", "samdeploy", "encode", "whole_image", "peak encode", "peak click", "peak prompts",
        "peak whole_image",
    ]  # fmt: skip
    assert table.rows == [["meta (tuned malloc)", "onnx", "2.00", "-", "-", "-", "2.00", "-"]]


class References(HTMLParser):
    """What a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [tag] * (tag in ("script", "link", "img", "iframe", "object"))
        self.found += [name for name, _ in attrs if name in ("src", "href", "srcset", "xlink:href")]
        self.open += [tag] * (tag != "meta")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_needs_nothing_else(report: Report) -> None:
    page = html_page(report)
    parser = References()
    parser.feed(page)
    assert parser.found == []
    assert "url(" not in page
    assert "@import" not in page
    assert page.count("<svg") == 5  # encode, whole image, and memory of three stages
    assert "sam_<b>" not in page
    assert "sam_&lt;b&gt;" in page


def test_a_chart_is_drawn_to_scale() -> None:
    bars = [("fast & small", Statistics.of([0.1])), ("slow", Statistics.of([0.2, 0.4, 0.3]))]
    chart = ElementTree.fromstring(bar_chart("encode", bars, "ms", 1e3))
    widths = [float(bar.attrib["width"]) for bar in chart.iter("rect")]
    assert widths[1] / widths[0] == pytest.approx(3, rel=0.01)
    low, _, high = re.findall(r"[\d.]+", chart.findall("path")[1].attrib["d"])
    bar_end = 210 + widths[1]
    assert float(low) < bar_end < float(high)
    texts = [text.text for text in chart.iter("text")]
    assert "fast & small" in texts
    assert "300 ms" in texts


def test_a_chart_of_nothing() -> None:
    assert ElementTree.fromstring(bar_chart("none", [], "ms", 1)).findall("rect") == []
