"""Is an artifact the same model as the torch reference?

Both are just sessions, so the comparison is NumPy and serves every backend. It runs end to end on
procedural scenes: each side encodes the image itself, then decodes prompts of every kind from its
own embedding, mixed in one call with absent tokens, and one prompt alone, then a click on and a box
around the largest objects, as users prompt. A split decoder is compared with the reference's plain
one as well. Last comes the whole image on a coarse grid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from samdeploy.bundle import VerificationRecord
from samdeploy.constants import MASK_THRESHOLD
from samdeploy.decoding import Decoding
from samdeploy.embedding import Embedding
from samdeploy.errors import InputError, VerificationError
from samdeploy.geometry import Transform
from samdeploy.graphs import DECODER, ENCODER, ROLES, SCORER, fixed_shape
from samdeploy.precision import ARITHMETIC, F32
from samdeploy.preprocess import preprocess
from samdeploy.prompts import DecoderPrompts, Prompt, encode_prompts
from samdeploy.scenes import Scene, generate_scene
from samdeploy.session import Array, Session
from samdeploy.verify_whole_image import masks_kept

Sessions = Mapping[str, Session]
Floats = NDArray[np.floating[Any]]

#: Objects of a scene that are prompted.
_OBJECTS = 4
#: Smallest mean mask IoU by precision, the coarsest last.
TOLERANCE = {
    "fp32": 0.999, "tf32": 0.998, "fp16": 0.995, "bf16": 0.995, "int8": 0.97, "palette": 0.97
}  # fmt: skip
_COSINE = {
    "fp32": 0.9999, "tf32": 0.9998, "fp16": 0.999, "bf16": 0.999, "int8": 0.98, "palette": 0.98
}  # fmt: skip


def gate(made: str, arithmetic: str = F32, tolerance: float | None = None) -> tuple[float, float]:
    """Smallest mean IoU and smallest embedding cosine of artifacts whose precision is ``made`` in
    some arithmetic: those of the coarser of both, unless ``tolerance`` is another IoU.

    Raises:
        InputError: ``tolerance`` is not from 0 to 1.
    """
    if tolerance is not None and not 0 <= tolerance <= 1:
        raise InputError(f"tolerance={tolerance}; expected a mask IoU from 0 to 1.")
    coarser = max(made, ARITHMETIC[arithmetic].made, key=list(TOLERANCE).index)
    return TOLERANCE[coarser] if tolerance is None else tolerance, _COSINE[coarser]


def finite(*arrays: Array) -> tuple[int, list[Array]]:
    """How many values are NaN or infinite, and the arrays in float64 with 0 in their place."""
    wide = [np.asarray(array, np.float64) for array in arrays]
    found = sum(array.size - np.count_nonzero(np.isfinite(array)) for array in wide)
    return int(found), [np.where(np.isfinite(array), array, 0) for array in wide]


def verify_sessions(
    reference: Sessions,
    candidate: Sessions,
    *,
    precision: str = "fp32",
    arithmetic: str = F32,
    tolerance: float | None = None,
    images: int = 2,
    seed: int = 0,
    whole_image: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] | None = None,
) -> VerificationRecord:
    """Compare ``candidate`` with ``reference``; a difference does not raise, see :func:`check`.

    ``whole_image`` are the thresholds that the model recommends. A value that is not finite, on
    either side, is a miss.
    """
    least_iou, least_cosine = gate(precision, arithmetic, tolerance)
    cosines, errors, logit_errors, iou_errors, overlaps = [], [], [], [], []
    prompts = masks = kept = not_finite = 0
    for index in range(images):
        if progress:
            progress(f"verifying image {index + 1} of {images}")
        rng = np.random.default_rng(seed + index)
        scene = generate_scene(seed + index, (240, 320) if index % 2 else (300, 220))
        image, transform = preprocess(scene.image, fixed_shape(reference[ENCODER], "image")[-1])
        expected = reference[ENCODER].run({"image": image})["image_embeddings"]
        found = candidate[ENCODER].run({"image": image})["image_embeddings"]
        bad, (a, b) = finite(expected, found)
        not_finite += bad
        cosines.append(_cosine(a, b))
        errors.append(relative_error(a, b))
        side = 4 * expected.shape[-1]
        batches = [_object_prompts(scene, transform, side)] if len(scene.masks) else []
        for batch in (*_prompt_batches(rng, transform, side), *batches):
            prompts += len(batch)
            wanted = reference[DECODER].run({"image_embeddings": expected, **batch.feeds()})
            for way in _ways(candidate):
                rows = np.flatnonzero(batch.has_mask_input == 0) if SCORER in way else slice(None)
                answer = Decoding(way)(Embedding(found, transform), batch[rows])
                logits = answer.masks(np.arange(len(answer.iou_predictions)))
                bad, (a, b, expected_iou, found_iou) = finite(
                    wanted["low_res_masks"][rows],
                    logits,
                    wanted["iou_predictions"][rows],
                    answer.iou_predictions,
                )
                not_finite += bad
                logit_errors.append(relative_error(a, b))
                iou_errors.append(float(np.abs(expected_iou - found_iou).max()))
                overlaps.append(mask_iou(a, b).ravel())
        a_side, b_side = (
            (Embedding(features, transform, scene.image), Decoding(sessions))
            for features, sessions in ((expected, reference), (found, candidate))
        )
        again, all_masks = masks_kept(a_side, b_side, whole_image or {})
        kept, masks = kept + again, masks + all_masks
    iou = np.concatenate(overlaps)
    near = iou.mean() >= least_iou and min(cosines) >= least_cosine
    return VerificationRecord(
        passed=bool(near and not not_finite),
        mode="error",
        images=images,
        prompts=prompts,
        seed=seed,
        embedding_cosine=min(cosines),
        embedding_max_error=max(errors),
        logits_max_error=max(logit_errors),
        iou_prediction_max_error=max(iou_errors),
        mask_iou_mean=float(iou.mean()),
        mask_iou_min=float(iou.min()),
        mask_iou_p5=float(np.percentile(iou, 5)),
        whole_image_masks=masks,
        whole_image_kept=kept,
        tolerance=least_iou,
        provider=", ".join(dict.fromkeys(session.provider for session in candidate.values())),
        arithmetic=arithmetic,
        not_finite=not_finite,
    )


def _ways(sessions: Sessions) -> list[Sessions]:
    """The plain decoder, and the split one where the model has it."""
    plain = {role: session for role, session in sessions.items() if role in ROLES}
    return [plain, sessions] if SCORER in sessions else [plain]


def check(record: VerificationRecord, remedy: str = "") -> None:
    """Raise when an artifact missed its tolerance; ``remedy`` says what would not miss it.

    Raises:
        VerificationError: with the numbers.
    """
    remedy = f"{remedy}, or " if remedy else ""
    if record.not_finite:
        remedy = f"{record.not_finite} values are NaN or infinite; {remedy}"
    if record.detections and not record.passed:
        masks = f", mask IoU mean {record.mask_iou_mean:.4f}" if record.mask_iou_mean else ""
        raise VerificationError(
            f"the artifact does not match the torch reference: box IoU mean "
            f"{record.box_iou_mean:.4f}{masks} (expected {record.tolerance:g} or more); {remedy}"
            "pass verify=warn to keep it anyway."
        )
    if not record.passed:
        raise VerificationError(
            f"the artifact does not match the torch reference: mask IoU mean "
            f"{record.mask_iou_mean:.4f} (expected {record.tolerance:g} or more), 5th percentile "
            f"{record.mask_iou_p5:.4f}, embedding cosine {record.embedding_cosine:.6f}; {remedy}"
            "pass verify=warn to keep it anyway."
        )


def mask_iou(a: Floats, b: Floats) -> NDArray[np.float64]:
    """IoU over the last two axes of the masks of two logit arrays; 1 when both are empty."""
    first, second = a > MASK_THRESHOLD, b > MASK_THRESHOLD
    both = np.count_nonzero(first & second, axis=(-2, -1))
    either = np.count_nonzero(first | second, axis=(-2, -1))
    return np.where(either == 0, 1.0, both / np.maximum(either, 1))


def _cosine(a: Floats, b: Floats) -> float:
    x, y = a.ravel(), b.ravel()
    return float(x @ y / max(np.linalg.norm(x) * np.linalg.norm(y), 1e-30))


def relative_error(a: Floats, b: Floats) -> float:
    """Largest difference relative to the largest reference value."""
    return float(np.abs(a - b).max() / max(float(np.abs(a).max()), 1e-30))


def _prompt_batches(
    rng: np.random.Generator, transform: Transform, side: int
) -> list[DecoderPrompts]:
    height, width = transform.original_size

    def points(count: int) -> NDArray[np.float64]:
        return rng.uniform(0, 1, (count, 2)) * (width, height)

    def box() -> list[float]:
        (x1, y1), (x2, y2) = np.sort(points(2), axis=0)
        return [x1, y1, min(x2 + 2, width), min(y2 + 2, height)] if x2 < width else [0, 0, 9, 9]

    def mask() -> NDArray[np.float32]:
        coarse = rng.normal(0, 8, (4, 4)).astype(np.float32)
        return np.kron(coarse, np.ones((side // 4, side // 4), np.float32))

    def labels(count: int) -> NDArray[np.int64]:
        return rng.integers(0, 2, count)

    mixed = [
        Prompt(points=points(1)),
        Prompt(points=points(2), labels=labels(2)),
        Prompt(points=points(4), labels=labels(4)),
        Prompt(box=box()),
        Prompt(box=box(), points=points(2), labels=labels(2)),
        Prompt(points=points(1), mask=mask()),
        Prompt(box=box(), mask=mask()),
        Prompt(mask=mask()),
    ]
    alone = [Prompt(points=points(1))]
    return [encode_prompts(each, transform, side) for each in (mixed, alone)]


def _object_prompts(scene: Scene, transform: Transform, side: int) -> DecoderPrompts:
    """A click deep inside each of the largest objects, and the box around it."""
    prompts = []
    for mask in sorted(scene.masks, key=np.count_nonzero, reverse=True)[:_OBJECTS]:
        depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
        rows, columns = np.nonzero(mask)
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        prompts += [Prompt(points=[[float(x) + 0.5, float(y) + 0.5]]), Prompt(box=box)]
    return encode_prompts(prompts, transform, side)
