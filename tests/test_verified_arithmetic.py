"""What is verified is what runs, on devices whose own choice is less than fp32 and on others."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from samdeploy import SAM, InputError
from samdeploy.bundle import MANIFEST, Bundle, VerificationRecord, read_manifest
from samdeploy.exporting.pipeline import export
from samdeploy.exporting.verify import verify_bundle
from samdeploy.graphs import ALL_ROLES, ENCODER
from samdeploy.opening import open_graphs
from samdeploy.precision import ARITHMETIC
from samdeploy.schemes import gate
from samdeploy.session import RuntimeOptions
from samdeploy.tuning import Row, Tuning
from samdeploy.verified import notice_unless_verified, with_arithmetic
from samdeploy.yolo.graphs import DETECTOR
from tests.cli.conftest import Cli, cli, done  # noqa: F401
from tests.rounding import bf16, bf16_runtime

pytestmark = pytest.mark.exporting

PASSED = VerificationRecord(True, "error", mask_iou_mean=1.0, tolerance=0.999)
BF16 = VerificationRecord(
    True, "error", mask_iou_mean=0.9968, tolerance=0.995, arithmetic="bf16-encoder"
)
MISSED = VerificationRecord(
    False, "error", mask_iou_mean=0.9846, tolerance=0.995, arithmetic="bf16"
)
UNKNOWN = VerificationRecord(False, "off")


@pytest.fixture
def bundle(small_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_bundle, tmp_path / "bundle"))


def recorded(folder: Path, *records: VerificationRecord) -> Bundle:
    """The bundle with exactly these records."""
    manifest = msgspec.structs.replace(read_manifest(folder), verification=UNKNOWN)
    for record in records:
        manifest = manifest.with_verification(record)
    return Bundle(folder, manifest)


def tuning(arithmetic: str) -> Tuning:
    row = Row("onnx", "fp32", 1, 4, "passed", arithmetic=arithmetic)
    return Tuning("this", "cpu", "click", row, (row,), 60, 12)


@pytest.mark.parametrize(
    ("made", "arithmetic", "least"),
    [
        ("fp32", "fp32", 0.999),
        ("fp32", "bf16", 0.995),
        ("fp32", "bf16-encoder", 0.995),
        ("fp32", "fp16", 0.995),
        ("fp16", "fp32", 0.995),
        ("int8", "bf16", 0.97),
        ("palette", "fp32", 0.97),
    ],
)
def test_the_coarser_of_artifact_and_arithmetic_sets_the_gate(
    made: str, arithmetic: str, least: float
) -> None:
    assert gate(made, arithmetic)[0] == least
    assert gate(made, arithmetic, 0.5) == (0.5, gate(made, arithmetic)[1])


def test_an_older_name_of_an_arithmetic(bundle: Path, small_checkpoint: Path) -> None:
    record = verify_bundle(bundle, small_checkpoint, precision="f32")
    assert (record.passed, record.arithmetic) == (True, "fp32")


@pytest.mark.parametrize("tolerance", [math.nan, math.inf, -0.1, 7])
def test_a_tolerance_that_is_none_is_refused(
    bundle: Path, small_checkpoint: Path, tolerance: float, tmp_path: Path
) -> None:
    match = f"tolerance={tolerance}; expected a mask IoU from 0 to 1"
    with pytest.raises(InputError, match=match):
        verify_bundle(bundle, small_checkpoint, tolerance=tolerance)
    with pytest.raises(InputError, match=match):
        export(small_checkpoint, output=tmp_path / "new", tolerance=tolerance)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("records", "tuned", "chosen"),
    [
        ([PASSED], None, "fp32"),
        ([PASSED, BF16], None, "fp32"),
        ([PASSED, BF16, MISSED], "bf16-encoder", "bf16-encoder"),
        ([PASSED, MISSED], "bf16", "fp32"),
        ([PASSED], "bf16", "fp32"),
        ([BF16], None, "bf16-encoder"),
        ([MISSED], None, "fp32"),
        ([], None, "fp32"),
    ],
)
def test_the_default_is_verified(
    bundle: Path, records: list[VerificationRecord], tuned: str | None, chosen: str
) -> None:
    known = None if tuned is None else tuning(tuned)
    options = with_arithmetic(RuntimeOptions(threads=3), recorded(bundle, *records), known)
    assert options == RuntimeOptions(threads=3, precision=chosen)


def test_a_checkpoint_computes_in_f32() -> None:
    assert with_arithmetic(RuntimeOptions(), None).precision == "fp32"


@pytest.mark.parametrize(
    ("records", "asked", "told"),
    [
        ([PASSED], "bf16", "was not verified in it (it passed in fp32)"),
        ([PASSED, MISSED], "bf16", "misses its tolerance in it (it passed in fp32)"),
        ([MISSED], "fp16", "was not verified in it (it passed in none)"),
        ([PASSED, BF16], "bf16", "was not verified in it (it passed in fp32, bf16-encoder)"),
        ([PASSED, BF16], "bf16-encoder", ""),
        ([PASSED, BF16], "fp32", ""),
        ([], "fp32", ""),
    ],
)
def test_what_is_asked_for_is_used_and_told_when_it_did_not_pass(
    bundle: Path,
    records: list[VerificationRecord],
    asked: str,
    told: str,
    noticed: Callable[[], list[str]],
) -> None:
    known, options = recorded(bundle, *records), RuntimeOptions(precision=asked)
    assert with_arithmetic(options, known, tuning("fp32")) == options
    notice_unless_verified(asked, known)
    assert [told in message for message in noticed()] == [True] * bool(told)


def test_bundles_without_further_records_still_open(bundle: Path) -> None:
    content = json.loads((bundle / MANIFEST).read_text())
    del content["further_verifications"]
    del content["verification"]["arithmetic"], content["verification"]["not_finite"]
    (bundle / MANIFEST).write_text(json.dumps(content))
    assert list(Bundle.open(bundle).manifest.verifications) == ["fp32"]


def test_names_are_checked_before_anything_is_opened(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"precision=f8; expected one of {', '.join(ARITHMETIC)}"):
        RuntimeOptions(precision="f8")
    with pytest.raises(InputError, match="bf16-encoder; a model of detector has no encoder, pass"):
        open_graphs(
            {DETECTOR: tmp_path}, "onnxruntime", "cpu", RuntimeOptions(precision="bf16-encoder")
        )


@pytest.mark.parametrize("able", [True, False])
def test_a_device_of_either_kind_runs_what_was_verified(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, able: bool
) -> None:
    runtime = bf16_runtime(monkeypatch, "onnxruntime", able)
    with SAM(bundle) as sam:
        facts = sam.info(verbose=False)
    assert runtime.asked == [(role, "fp32") for role in ALL_ROLES]
    assert (facts["arithmetic"], facts["verified"]) == ("fp32", True)
    assert facts["mask_iou_against_torch"] > 0.999
    assert list(facts["verifications"]) == ["fp32"]


def test_the_encoder_alone_in_bf16(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, photo: Any, noticed: Callable[[], list[str]]
) -> None:
    runtime = bf16_runtime(monkeypatch, "onnxruntime")
    options = RuntimeOptions(precision="bf16-encoder")
    with SAM(bundle, options=options) as sam:
        facts = sam.info(verbose=False)
        found = sam.encode(photo, "rgb").image_embeddings
    asked = dict(runtime.asked)
    assert asked == {role: "bf16" if role == ENCODER else "fp32" for role in ALL_ROLES}
    np.testing.assert_array_equal(found, bf16(found))
    assert len(noticed()) == 1
    assert (facts["arithmetic"], facts["verified"]) == ("bf16-encoder", False)
    assert facts["mask_iou_against_torch"] is None
    assert facts["verifications"]["fp32"].startswith("passed, mean mask IoU 1.0000 (at least 0.999")


def test_a_device_without_bf16_refuses_it(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bf16_runtime(monkeypatch, "onnxruntime", able=False)
    options = RuntimeOptions(precision="bf16-encoder")
    with pytest.raises(InputError, match="device 'cpu' uses fp32"):
        SAM(bundle, options=options)


def test_each_arithmetic_has_a_record_of_its_own(
    done: Cli,  # noqa: F811
    bundle: Path,
    small_checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bf16_runtime(monkeypatch, "onnxruntime")
    plain = read_manifest(bundle).verification
    asked = done("info", "model=bundle", "precision=bf16")
    assert asked.err.startswith("warning: precision=bf16; 'bundle' was not verified in it")
    assert asked.err.count("\n") == 1

    words = ("verify", "model=bundle", f"reference={small_checkpoint}", "precision=bf16")
    table = done(*words, "save=True", "tolerance=0.5").out
    assert "arithmetic" in table
    assert "CPUExecutionProvider bf16" in table
    manifest = read_manifest(bundle)
    assert manifest.verification == plain
    record = manifest.verifications["bf16"]
    assert record.passed
    assert record.provider == "CPUExecutionProvider bf16"
    # Rounding is seen.
    assert record.mask_iou_mean < plain.mask_iou_mean
    assert record.embedding_max_error > 10 * plain.embedding_max_error

    asked = done("info", "model=bundle", "precision=bf16", "json=True")
    assert asked.err == ""
    assert asked.json["verified"]
    assert asked.json["mask_iou_against_torch"] == record.mask_iou_mean
    assert list(asked.json["verifications"]) == ["fp32", "bf16"]
    assert done("info", "model=bundle", "json=True").json["arithmetic"] == "fp32"


def test_a_miss_is_recorded_as_one(
    bundle: Path,
    small_checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    noticed: Callable[[], list[str]],
) -> None:
    bf16_runtime(monkeypatch, "onnxruntime")
    record = verify_bundle(bundle, small_checkpoint, precision="bf16", tolerance=1.0, save=True)
    assert not record.passed
    manifest = read_manifest(bundle)
    assert manifest.verification.passed
    assert manifest.further_verifications == (record,)
    SAM(bundle, options=RuntimeOptions(precision="bf16")).close()
    (told,) = noticed()
    assert "misses its tolerance in it (it passed in fp32)" in told
