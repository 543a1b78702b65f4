"""Two reports: like, unlike, forced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from samdeploy.benchmarks.compare import compare
from samdeploy.benchmarks.records import Report, Statistics, encode
from samdeploy.errors import InputError


def stored(report: Report, path: Path) -> Path:
    path.write_bytes(encode(report))
    return path


def changed(report: Report, part: str, **values: Any) -> Report:
    inner = msgspec.structs.replace(getattr(report, part), **values)
    return msgspec.structs.replace(report, **{part: inner})


@pytest.fixture
def faster(report: Report) -> Report:
    """The same conditions, half the encoder's time."""
    case = report.cases[0]
    timings = {**case.timings, "encode": Statistics.of([0.055, 0.050, 0.060])}
    peaks = {**case.peaks, "whole_image": 150_000_000}
    case = msgspec.structs.replace(case, timings=timings, peaks=peaks)
    return msgspec.structs.replace(report, cases=(case, *report.cases[1:]), created="later")


def test_like(report: Report, faster: Report, tmp_path: Path) -> None:
    found = compare(stored(report, tmp_path / "a.json"), stored(faster, tmp_path / "b.json"))
    assert found.unlike == ()
    ratios = {ratio.figure: ratio for ratio in found.ratios}
    assert ratios["encode"].ratio == pytest.approx(0.5)
    assert ratios["encode"].distinct
    assert ratios["whole_image"].ratio == 1
    assert not ratios["whole_image"].distinct
    assert ratios["peak after whole_image"].ratio == 0.5
    assert ratios["peak after whole_image"].distinct is None
    assert {ratio.case for ratio in found.ratios} == {"onnx"}
    assert "0.500" in found.text()
    assert "UNLIKE" not in found.text()


def test_overlapping_quartiles_are_not_distinct(report: Report, tmp_path: Path) -> None:
    case = report.cases[0]
    timings = {"encode": Statistics.of([0.109, 0.112, 0.13])}
    near = msgspec.structs.replace(
        report, cases=(msgspec.structs.replace(case, timings=timings), *report.cases[1:])
    )
    found = compare(stored(report, tmp_path / "a.json"), stored(near, tmp_path / "b.json"))
    assert found.ratios[0].distinct is False
    row = next(line for line in found.text().splitlines() if "encode" in line)
    assert row.split()[-1] == "no"


@pytest.mark.parametrize("samples", [([0.1], [0.05, 0.06]), ([0.1, 0.11], [0.05])])
def test_one_sample_tells_nothing(
    report: Report, tmp_path: Path, samples: tuple[list[float], ...]
) -> None:
    case = report.cases[0]
    paths = []
    for name, each in zip("ab", samples, strict=True):
        measured = msgspec.structs.replace(case, timings={"encode": Statistics.of(each)}, peaks={})
        told = msgspec.structs.replace(report, cases=(measured,))
        paths.append(stored(told, tmp_path / name))
    found = compare(*paths)
    assert found.ratios[0].distinct is None
    assert found.text().splitlines()[-1].split()[-1] == "-"


@pytest.mark.parametrize(
    ("part", "values", "match"),
    [
        ("environment", {"cpu": "Another CPU"}, "cpu: Some CPU, Another CPU"),
        ("environment", {"cpu_flags": ("avx2", "amx_bf16")}, "amx_bf16"),
        ("environment", {"gpus": ()}, "gpus"),
        ("environment", {"versions": {"onnxruntime": "2.0"}}, "onnxruntime: 1.0, 2.0"),
        ("environment", {"versions": {}}, "onnxruntime: 1.0, absent"),
        ("conditions", {"threads": 4}, "threads: 2, 4"),
        ("conditions", {"image_sha256": "0"}, "image_sha256"),
        ("conditions", {"whole_image": None}, "whole_image"),
        ("conditions", {"imgsz": 512}, "imgsz: None, 512"),
        ("conditions", {"config": {"mask_decoder": {}}}, "config: None, "),
    ],
)
def test_unlike(
    report: Report, tmp_path: Path, part: str, values: dict[str, Any], match: str
) -> None:
    other = changed(report, part, **values)
    paths = stored(report, tmp_path / "a.json"), stored(other, tmp_path / "b.json")
    with pytest.raises(InputError, match=match) as refused:
        compare(*paths)
    assert "force=True" in str(refused.value)
    forced = compare(*paths, force=True)
    assert len(forced.unlike) == 1
    assert forced.ratios
    assert forced.text().startswith("UNLIKE CONDITIONS (forced)")


def test_our_own_version_may_differ(report: Report, tmp_path: Path) -> None:
    newer = changed(report, "environment", versions={"samdeploy": "9", "onnxruntime": "1.0"})
    assert compare(stored(report, tmp_path / "a"), stored(newer, tmp_path / "b")).unlike == ()


def test_nothing_in_common(report: Report, tmp_path: Path) -> None:
    other = msgspec.structs.replace(report, cases=report.cases[1:])
    with pytest.raises(InputError, match="no measured case in common"):
        compare(stored(report, tmp_path / "a"), stored(other, tmp_path / "b"))
