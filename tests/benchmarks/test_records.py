"""Statistics, and the stored form of a report."""

from __future__ import annotations

import json
import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samdeploy.benchmarks.records import SCHEMA_VERSION, Report, Statistics, encode, read_report
from samdeploy.benchmarks.result import Result
from samdeploy.errors import InputError


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=30))
def test_statistics_are_those_of_numpy(samples: list[float]) -> None:
    found = Statistics.of(samples)
    low, middle, high = np.percentile(samples, [25, 50, 75])
    assert found.median == pytest.approx(middle)
    assert found.lower_quartile == pytest.approx(low)
    assert found.upper_quartile == pytest.approx(high)
    assert found.spread == pytest.approx(high - low, abs=1e-9)
    assert found.samples == tuple(samples)


def test_round_trip(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(encode(report))
    assert read_report(path) == report


def test_records_are_immutable(report: Report) -> None:
    with pytest.raises(AttributeError):
        report.cases[0].status = "failed"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"schema_version": SCHEMA_VERSION + 1}, f"version {SCHEMA_VERSION + 1}.*upgrade"),
        ({"cases": 3}, "not a benchmark report"),
        ({"schema_version": "one"}, "not a benchmark report"),
    ],
)
def test_what_is_not_read(
    report: Report, tmp_path: Path, change: dict[str, object], match: str
) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(json.loads(encode(report)) | change))
    with pytest.raises(InputError, match=match):
        read_report(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"median":', b'"median": 0, "was":'),
        (b'"median":', b'"median": -1, "was":'),
        (b'"median":', b'"median": 1e999, "was":'),
        (b'"whole_image":', b'"whole_image": 0, "was":'),
        (b"{", b"[" * 100_000),
        (b"{", b"\xff\xfe"),
    ],
)
def test_what_would_not_divide(report: Report, tmp_path: Path, old: bytes, new: bytes) -> None:
    path = tmp_path / "report.json"
    content = encode(report)
    assert old in content
    path.write_bytes(content.replace(old, new))
    with pytest.raises(InputError, match="not a benchmark report"):
        read_report(path)


def test_no_regular_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it is no regular file"):
        read_report("/dev/zero")
    with pytest.raises(InputError, match="it is no regular file"):
        read_report(tmp_path)


def test_a_number_that_json_has_not_is_not_written(report: Report) -> None:
    case = msgspec.structs.replace(report.cases[0], mask_iou_mean=math.nan)
    with pytest.raises(ValueError, match=r"cases\.0\.mask_iou_mean is nan"):
        encode(msgspec.structs.replace(report, cases=(case,)))


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.json' cannot be read"):
        read_report(tmp_path / "nowhere.json")


def test_files_are_never_overwritten(report: Report, tmp_path: Path) -> None:
    first, second = Result.write(report, tmp_path), Result.write(report, tmp_path)
    assert first.json.name == "formats_sam_<b>_20260102T030405.json"
    files = [first.json, first.markdown, first.html, second.json, second.markdown, second.html]
    assert sorted(files) == sorted(tmp_path.iterdir())
    assert read_report(first.json) == read_report(second.json) == report
    assert first.failed == ["torch"]
