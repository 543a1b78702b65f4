"""Verification records for people."""

from __future__ import annotations

from samdeploy.bundle import VerificationRecord
from samdeploy.table import format_table


def verification_table(record: VerificationRecord) -> str:
    if not record.ran:
        return record.sentence
    rows = _ROWS[record.kind](record)
    if record.not_finite:
        rows.append(["values that are NaN or infinite", str(record.not_finite)])
    rows = [
        ["verdict", record.verdict],
        *rows,
        ["arithmetic", record.arithmetic],
        ["ran on", record.provider],
    ]
    return format_table(["against torch", "value"], rows)


def _mask_rows(record: VerificationRecord) -> list[list[str]]:
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


def _box_rows(record: VerificationRecord) -> list[list[str]]:
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


#: By what was overlapped with the reference's.
_ROWS = {"mask": _mask_rows, "box": _box_rows}
