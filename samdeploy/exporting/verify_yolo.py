"""Is an artifact of the YOLO family the same network as the torch reference?

Both answer for every place of a scene. Compared are the boxes, scores and masks of the places that
the reference rates highest, before any suppression: a suppression turns a difference in the last
digit into another list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samdeploy.bundle import VerificationRecord
from samdeploy.contracts import spec_of
from samdeploy.exporting.metrics import Floats, finite, mask_iou, relative_error
from samdeploy.precision import FP32
from samdeploy.scenes import generate_scene
from samdeploy.schemes import gate
from samdeploy.session import Array, Session
from samdeploy.yolo.letterbox import Letterbox

#: Places that are compared on each image.
PLACES = 100


def verify_yolo(
    reference: Mapping[str, Session],
    candidate: Mapping[str, Session],
    *,
    precision: str = "fp32",
    arithmetic: str = FP32,
    tolerance: float | None = None,
    images: int = 2,
    seed: int = 0,
    whole_image: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] | None = None,
) -> VerificationRecord:
    """Compare ``candidate`` with ``reference``; a difference does not raise, see
    :func:`samdeploy.exporting.verify.check`.

    It takes what the verifier of any family does (:class:`samdeploy.families.Family`):
    ``whole_image`` is for families that have such a mode; one pass is all there is here.
    It passes when the mean overlaps of the boxes, and of the masks of a segmenter, reach the
    tolerance.
    """
    least, _ = gate(precision, arithmetic, tolerance)
    [expected_by], [found_by] = reference.values(), candidate.values()
    box_ious, mask_ious, errors, score_errors, not_finite = [], [], [], [], 0
    height, width = (int(side) for side in spec_of(expected_by.inputs, "images").shape[2:])
    for index in range(images):
        if progress:
            progress(f"verifying image {index + 1} of {images}")
        scene = generate_scene(seed + index, (240, 320) if index % 2 else (300, 220))
        letterbox = Letterbox.fit((scene.image.shape[0], scene.image.shape[1]), (height, width))
        feeds = {"images": letterbox.image_to_input(scene.image)}
        bad, expected = _finite(expected_by.run(feeds))
        worse, found = _finite(found_by.run(feeds))
        not_finite += bad + worse
        errors += [relative_error(expected[name], found[name]) for name in expected]
        prototypes = expected.get("output1", np.zeros((1, 0, 1, 1)))
        scores = slice(4, expected["output0"].shape[1] - prototypes.shape[1])
        best = np.argsort(-expected["output0"][0, scores].max(axis=0), kind="stable")[:PLACES]
        a, b = expected["output0"][0][:, best], found["output0"][0][:, best]
        box_ious.append(_box_iou(a[:4], b[:4]))
        score_errors.append(float(np.abs(a[scores] - b[scores]).max()))
        if "output1" in expected:
            mask_ious.append(
                mask_iou(_masks(a[scores.stop :], expected), _masks(b[scores.stop :], found))
            )
    boxes, masks = np.concatenate(box_ious), np.concatenate(mask_ious or [np.zeros(0)])
    return VerificationRecord(
        passed=bool(
            boxes.mean() >= least and (not masks.size or masks.mean() >= least) and not not_finite
        ),
        mode="error",
        images=images,
        detections=len(boxes),
        seed=seed,
        logits_max_error=max(errors),
        score_max_error=max(score_errors),
        box_iou_mean=float(boxes.mean()),
        box_iou_min=float(boxes.min()),
        mask_iou_mean=float(masks.mean()) if masks.size else 0.0,
        mask_iou_min=float(masks.min()) if masks.size else 0.0,
        tolerance=least,
        provider=found_by.provider,
        arithmetic=arithmetic,
        not_finite=not_finite,
    )


def _finite(answer: Mapping[str, Array]) -> tuple[int, dict[str, Array]]:
    bad, arrays = finite(*answer.values())
    return bad, dict(zip(answer, arrays, strict=True))


def _masks(coefficients: Floats, answer: Mapping[str, Array]) -> Floats:
    """Logits of the masks in the prototypes' frame, ``[N, h, w]``."""
    return np.asarray(np.einsum("mn,mhw->nhw", coefficients, answer["output1"][0]))


def _box_iou(a: Floats, b: Floats) -> NDArray[np.float64]:
    """IoU of each box of ``[4, N]`` (centre x, centre y, width, height) with its counterpart."""
    centres, sides = np.stack([a[:2], b[:2]]).astype(float), np.stack([a[2:], b[2:]]).astype(float)
    top_left, bottom_right = centres - sides / 2, centres + sides / 2
    overlap = np.clip(bottom_right.min(axis=0) - top_left.max(axis=0), 0, None).prod(axis=0)
    return np.asarray(overlap / np.maximum(sides.prod(axis=1).sum(axis=0) - overlap, 1e-9))
