"""docs/mobile.md has the rows of the reports that it names."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REPORTS = sorted((ROOT / "benchmarks" / "results").glob("formats_*.json"))


@pytest.mark.parametrize("report", REPORTS, ids=lambda path: path.stem)
def test_the_document_has_every_row(report: Path) -> None:
    measured = runpy.run_path(str(ROOT / "tools" / "formats_table.py"))["measured"]
    document = (ROOT / "docs" / "mobile.md").read_text()
    rows = [f"| {' | '.join(row)} |" for row in measured(report)]
    assert rows
    assert all(row in document for row in rows)


def test_there_are_reports() -> None:
    assert len(REPORTS) == 4
