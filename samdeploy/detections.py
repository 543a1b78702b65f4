"""Detectors, and their answers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from samdeploy.errors import InputError
from samdeploy.text import shown

#: Class ids are below this. Tables of classes have a row for each id, so a damaged id must not ask
#: for all memory; the largest vocabularies in use have some twenty thousand.
MOST_CLASSES = 1 << 16


@dataclass(frozen=True)
class Detections:
    """``N`` detected objects of one image.

    Attributes:
        boxes: ``[N, 4]`` float32, x1 y1 x2 y2 in image pixels.
        scores: ``[N]`` float32, confidence.
        classes: ``[N]`` int64, class ids.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, keep: NDArray[np.intp] | NDArray[np.bool_] | slice) -> Detections:
        return Detections(self.boxes[keep], self.scores[keep], self.classes[keep])

    def of_classes(self, classes: Collection[int] | None) -> Detections:
        """Those of the wanted classes; ``None`` is all."""
        if classes is None:
            return self
        return self[np.isin(self.classes, np.array(sorted(classes), np.int64))]

    def clipped(self, size: tuple[int, int]) -> Detections:
        """Those with an area inside an image of ``size`` (height, width), cut at its edges."""
        height, width = size
        edges = np.array([width, height, width, height], np.float32)
        boxes = np.clip(self.boxes.astype(np.float32), 0, edges)
        keep = np.asarray((boxes[:, 2:] > boxes[:, :2]).all(axis=1), bool)
        return Detections(boxes, self.scores, self.classes)[keep]


class Detector(Protocol):
    """Any object that finds boxes, such as what :mod:`samdeploy.yolo.detector` opens. A protocol,
    so that any other detector can take the place of ours."""

    @property
    def names(self) -> Mapping[int, str]:
        """Class ids to names."""
        ...

    def __call__(self, image_rgb: NDArray[np.uint8]) -> Detections:
        """``image_rgb`` is uint8 ``[H, W, 3]``."""
        ...


def as_detections(found: Any) -> Detections:
    """Check the answer of somebody's detector: an object with ``boxes``, ``scores`` and
    ``classes``, as lists, arrays or tensors of any device. No box at all may have any shape.

    Raises:
        InputError: it is something else, with the value.
    """
    expected = (
        "expected samdeploy.detections.Detections, with boxes [N, 4] (x1, y1, x2, y2), scores [N] "
        "and classes [N]; for no object, with none"
    )
    try:
        parts = [_as_array(getattr(found, name)) for name in ("boxes", "scores", "classes")]
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"the detector returned {shown(found)}; {expected}.") from error
    boxes, scores, classes = parts
    if not boxes.size and not classes.size:
        boxes, scores, classes = np.zeros((0, 4)), np.zeros(0), np.zeros(0)
    count = len(boxes) if boxes.ndim else 0
    shapes = [list(part.shape) for part in parts]
    if boxes.shape != (count, 4) or not scores.size == classes.size == count:
        raise InputError(f"the detector returned shapes {shapes}; {expected}.")
    scores, classes = scores.reshape(-1), classes.reshape(-1)
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise InputError("the detector returned values that are not finite; expected pixels.")
    whole = (classes >= 0) & (classes < MOST_CLASSES) & (classes == np.floor(classes))
    if not whole.all():
        raise InputError(
            f"the detector returned class {classes[~whole][0]:g}; expected whole numbers from 0 "
            f"to {MOST_CLASSES - 1}."
        )
    return Detections(boxes.astype(np.float32), scores.astype(np.float32), classes.astype(np.int64))


def _as_array(values: Any) -> NDArray[np.float64]:
    """A tensor may need gradients, be on a GPU, or of a type that NumPy lacks (bfloat16)."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().double()
    return np.asarray(values, np.float64)
