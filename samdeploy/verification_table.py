"""Verification records for people."""

from __future__ import annotations

from typing import Any

from samdeploy.bundle import Manifest, VerificationRecord
from samdeploy.table import format_table


def verification_table(record: VerificationRecord) -> str:
    if record.mode in _NOT_RUN:
        return _sentence(record)
    rows = _yolo_rows(record) if record.detections else _sam_rows(record)
    if record.not_finite:
        rows.append(["values that are NaN or infinite", str(record.not_finite)])
    rows = [
        ["verdict", _verdict(record)],
        *rows,
        ["arithmetic", record.arithmetic],
        ["ran on", record.provider],
    ]
    return format_table(["against torch", "value"], rows)


def verification_facts(manifest: Manifest, arithmetic: str) -> dict[str, Any]:
    """For ``info`` of a model that computes in ``arithmetic``: whether that was verified, and what
    was found in every arithmetic that was."""
    records = manifest.verifications
    running = records.get(arithmetic)
    ran = None if running is None or running.mode in _NOT_RUN else running
    kind = "mask" if manifest.family == "sam" else "box"
    return {
        "verified": running is not None and running.passed,
        f"{kind}_iou_against_torch": None if ran is None else getattr(ran, f"{kind}_iou_mean"),
        "verifications": {name: _sentence(record) for name, record in records.items()},
    }


#: Modes of records that hold no measurement.
_NOT_RUN = ("off", "not run")


def _sentence(record: VerificationRecord) -> str:
    if record.mode == "off":
        return "not verified (verify=off)"
    if record.mode == "not run":
        return f"not verified: {record.note}"
    kind, mean = (
        ("box", record.box_iou_mean) if record.detections else ("mask", record.mask_iou_mean)
    )
    return f"{_verdict(record)}, mean {kind} IoU {mean:.4f} (at least {record.tolerance:g})"


def _verdict(record: VerificationRecord) -> str:
    return "passed" if record.passed else "MISSED"


def _sam_rows(record: VerificationRecord) -> list[list[str]]:
    return [
        ["mask IoU, mean", f"{record.mask_iou_mean:.6f} (at least {record.tolerance:g})"],
        ["mask IoU, 5th percentile", f"{record.mask_iou_p5:.6f}"],
        ["mask IoU, worst", f"{record.mask_iou_min:.6f}"],
        ["whole image, masks kept", f"{record.whole_image_kept} of {record.whole_image_masks}"],
        ["embedding cosine", f"{record.embedding_cosine:.8f}"],
        ["embedding, largest relative error", f"{record.embedding_max_error:.1e}"],
        ["logits, largest relative error", f"{record.logits_max_error:.1e}"],
        ["predicted IoU, largest error", f"{record.iou_prediction_max_error:.1e}"],
        ["images, prompts", f"{record.images}, {record.prompts}"],
    ]


def _yolo_rows(record: VerificationRecord) -> list[list[str]]:
    rows = [
        ["box IoU, mean", f"{record.box_iou_mean:.6f} (at least {record.tolerance:g})"],
        ["box IoU, worst", f"{record.box_iou_min:.6f}"],
        ["class score, largest error", f"{record.score_max_error:.1e}"],
        ["outputs, largest relative error", f"{record.logits_max_error:.1e}"],
        ["images, places", f"{record.images}, {record.detections}"],
    ]
    if record.mask_iou_mean:
        rows[2:2] = [
            ["mask IoU, mean", f"{record.mask_iou_mean:.6f} (at least {record.tolerance:g})"],
            ["mask IoU, worst", f"{record.mask_iou_min:.6f}"],
        ]
    return rows
