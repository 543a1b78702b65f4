"""Is an artifact the same model as the torch reference?

Both are just sessions, so the comparison is NumPy and serves every backend. It runs end to end on
procedural scenes: each side encodes the image itself, then decodes prompts of every kind from its
own embedding, mixed in one call with absent tokens, and one prompt alone, then a click on and a box
around the largest objects, as users prompt. A split decoder is compared with the reference's plain
one as well. Last comes the whole image on a coarse grid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from samdeploy.bundle import VerificationRecord
from samdeploy.contracts import fixed_shape
from samdeploy.decoding import Decoding
from samdeploy.embedding import Embedding
from samdeploy.exporting.metrics import Floats, finite, mask_iou, relative_error
from samdeploy.exporting.verify_whole_image import masks_kept
from samdeploy.geometry import Transform
from samdeploy.graphs import DECODER, ENCODER, ROLES, SCORER
from samdeploy.precision import FP32
from samdeploy.preprocess import SAM_STEPS, Preprocess
from samdeploy.preprocess import preprocess as encoder_input
from samdeploy.prompts import Prompt, encode_prompts
from samdeploy.scenes import Scene, generate_scene
from samdeploy.schemes import gate
from samdeploy.session import Session

Sessions = Mapping[str, Session]

#: Tokens of the longest prompt that is asked: four points and padding, or with a box two.
LONGEST_PROMPT = 5
#: Objects of a scene that are prompted.
_OBJECTS = 4


def verify_sessions(
    reference: Sessions,
    candidate: Sessions,
    *,
    precision: str = "fp32",
    arithmetic: str = FP32,
    tolerance: float | None = None,
    images: int = 2,
    seed: int = 0,
    whole_image: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] | None = None,
    preprocess: Preprocess = SAM_STEPS,
    always_padded: bool = False,
) -> VerificationRecord:
    """Compare ``candidate`` with ``reference``; a difference does not raise, see
    :func:`samdeploy.exporting.verify.check`.

    ``whole_image`` are the thresholds that the model recommends, ``preprocess`` is how it makes
    encoder input of an image, and for ``always_padded`` see
    :func:`~samdeploy.prompts.encode_prompts`. A value that is not finite, on either side, is a
    miss.
    """
    least_iou, least_cosine = gate(precision, arithmetic, tolerance)
    cosines, errors, logit_errors, iou_errors, overlaps = [], [], [], [], []
    prompts = masks = kept = not_finite = 0
    for index in range(images):
        if progress:
            progress(f"verifying image {index + 1} of {images}")
        rng = np.random.default_rng(seed + index)
        scene = generate_scene(seed + index, (240, 320) if index % 2 else (300, 220))
        size = fixed_shape(reference[ENCODER], "image")[-1]
        image, transform = encoder_input(scene.image, size, preprocess)
        expected, found = (
            Embedding(sessions[ENCODER].run({"image": image}), transform, scene.image)
            for sessions in (reference, candidate)
        )
        for name, features in expected.tensors.items():
            bad, (a, b) = finite(features, found.tensors[name])
            not_finite += bad
            cosines.append(_cosine(a, b))
            errors.append(relative_error(a, b))
        side = expected.low_res_side
        groups = [*_prompts(rng, transform, side), *_object_prompts(scene)]
        for group in groups:
            batch = encode_prompts(group, transform, side, always_padded)
            prompts += len(batch)
            decoder = reference[DECODER]
            wanted = decoder.run({**expected.feeds(decoder), **batch.feeds()})
            for way in _ways(candidate):
                rows = np.flatnonzero(batch.has_mask_input == 0) if SCORER in way else slice(None)
                answer = Decoding(way)(found, batch[rows])
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
        sides = (expected, Decoding(reference)), (found, Decoding(candidate))
        again, all_masks = masks_kept(*sides, whole_image or {})
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


#: The same for SAM 2.
verify_sam2 = partial(verify_sessions, always_padded=True)


def _ways(sessions: Sessions) -> list[Sessions]:
    """The plain decoder, and the split one where the model has it."""
    plain = {role: session for role, session in sessions.items() if role in ROLES}
    return [plain, sessions] if SCORER in sessions else [plain]


def _cosine(a: Floats, b: Floats) -> float:
    x, y = a.ravel(), b.ravel()
    return float(x @ y / max(np.linalg.norm(x) * np.linalg.norm(y), 1e-30))


def _prompts(rng: np.random.Generator, transform: Transform, side: int) -> list[list[Prompt]]:
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
    return [mixed, [Prompt(points=points(1))]]


def usual_prompts(seed: int, scene: Scene) -> list[Prompt]:
    """Points, boxes and both: some anywhere in the image, and on and around its objects."""
    rng, (height, width) = np.random.default_rng(seed), scene.image.shape[:2]

    def anywhere(count: int) -> NDArray[np.float64]:
        return rng.uniform(0, 1, (count, 2)) * (width, height)

    first, last = np.sort(anywhere(2) * 0.4, axis=0)
    box = np.concatenate([first, last + np.array([width, height]) / 2])
    free = [
        Prompt(points=anywhere(1)),
        Prompt(points=anywhere(3), labels=[1, 0, 1]),
        Prompt(box=box),
        Prompt(points=anywhere(2), labels=[1, 0], box=box),
    ]
    return [*free, *(prompt for group in _object_prompts(scene) for prompt in group)]


def _object_prompts(scene: Scene) -> list[list[Prompt]]:
    """A click deep inside each of the largest objects, and the box around it; none of a scene
    without objects."""
    prompts = []
    for mask in sorted(scene.masks, key=np.count_nonzero, reverse=True)[:_OBJECTS]:
        depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
        rows, columns = np.nonzero(mask)
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        prompts += [Prompt(points=[[float(x) + 0.5, float(y) + 0.5]]), Prompt(box=box)]
    return [prompts] if prompts else []
