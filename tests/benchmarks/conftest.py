"""A report made by hand, so that the tests of tables and comparisons measure nothing."""

from __future__ import annotations

import pytest

from samdeploy.benchmarks.published import PUBLISHED
from samdeploy.benchmarks.records import (
    SCHEMA_VERSION,
    Case,
    Conditions,
    Device,
    Environment,
    Gpu,
    Report,
    Statistics,
)


@pytest.fixture
def report() -> Report:
    timings = {
        "encode": Statistics.of([0.10, 0.12, 0.11]),
        "whole_image": Statistics.of([2.0]),
    }
    return Report(
        schema_version=SCHEMA_VERSION,
        kind="formats",
        created="2026-01-02T03:04:05+00:00",
        model="sam_<b>.pt",
        reference="torch",
        weights="checkpoint",
        conditions=Conditions((120, 160), "ab" * 32, 2, 1, 3, 1, 1, {"points_stride": 4}, False),
        environment=Environment(
            "Some CPU", ("avx2",), 2, 8_000_000_000, "Linux", (Gpu("A GPU", "1.2", 1 << 30),),
            {"samdeploy": "0.1.0", "onnxruntime": "1.0"},
        ),
        devices=(
            Device("cpu", "the processor", ("onnxruntime",)),
            Device("cuda", "NVIDIA GPU", (), "onnxruntime offers cpu here"),
        ),
        cases=(
            Case(
                "onnx", "cpu", "ok", runtime="onnxruntime", precision="fp32",
                provider="CPUExecutionProvider", artifact_bytes=12_345_678, timings=timings,
                peaks={"load": 100_000_000, "prompts": 250_000_000, "whole_image": 300_000_000},
                masks=7, mask_iou_mean=0.99871, mask_iou_min=0.9,
            ),
            Case("onnx", "cuda", "absent", "onnxruntime offers cpu here"),
            Case("torch", "cpu", "failed", "out of memory"),
        ),
        published=PUBLISHED,
    )  # fmt: skip
