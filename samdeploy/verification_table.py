"""A verification record for people."""

from __future__ import annotations

from samdeploy.bundle import VerificationRecord
from samdeploy.table import format_table


def verification_table(record: VerificationRecord) -> str:
    if record.mode == "off":
        return "not verified (verify=off)"
    if record.mode == "not run":
        return f"not verified: {record.note}"
    if record.detections:
        return _yolo_verification_table(record)
    return format_table(
        ["against torch", "value"],
        [
            ["verdict", "passed" if record.passed else "MISSED"],
            ["mask IoU, mean", f"{record.mask_iou_mean:.6f} (at least {record.tolerance:g})"],
            ["mask IoU, 5th percentile", f"{record.mask_iou_p5:.6f}"],
            ["mask IoU, worst", f"{record.mask_iou_min:.6f}"],
            ["whole image, masks kept", _kept(record)],
            ["embedding cosine", f"{record.embedding_cosine:.8f}"],
            ["embedding, largest relative error", f"{record.embedding_max_error:.1e}"],
            ["logits, largest relative error", f"{record.logits_max_error:.1e}"],
            ["predicted IoU, largest error", f"{record.iou_prediction_max_error:.1e}"],
            ["images, prompts", f"{record.images}, {record.prompts}"],
            ["ran on", record.provider],
        ],
    )


def _kept(record: VerificationRecord) -> str:
    return f"{record.whole_image_kept} of {record.whole_image_masks}"


def _yolo_verification_table(record: VerificationRecord) -> str:
    rows = [
        ["verdict", "passed" if record.passed else "MISSED"],
        ["box IoU, mean", f"{record.box_iou_mean:.6f} (at least {record.tolerance:g})"],
        ["box IoU, worst", f"{record.box_iou_min:.6f}"],
        ["class score, largest error", f"{record.score_max_error:.1e}"],
        ["outputs, largest relative error", f"{record.logits_max_error:.1e}"],
        ["images, places", f"{record.images}, {record.detections}"],
        ["ran on", record.provider],
    ]
    if record.mask_iou_mean:
        rows[3:3] = [
            ["mask IoU, mean", f"{record.mask_iou_mean:.6f} (at least {record.tolerance:g})"],
            ["mask IoU, worst", f"{record.mask_iou_min:.6f}"],
        ]
    return format_table(["against torch", "value"], rows)
