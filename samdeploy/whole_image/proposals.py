"""Boxes to ask with, instead of most points: ``mode="proposals"``.

A detector says where objects may be, whatever they are, and each of its boxes is one prompt; a
coarse grid of points asks where no box has found anything (the idea of MobileSAMv2,
arXiv:2312.09579).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samdeploy.closing import Closing
from samdeploy.detections import Detections
from samdeploy.errors import InputError
from samdeploy.geometry import Transform
from samdeploy.prompts import DecoderPrompts, Prompt
from samdeploy.text import shown

if TYPE_CHECKING:
    from samdeploy.yolo.detector import YoloDetector

#: A box that is wrong costs one prompt, one that is missing an object.
CONFIDENCE = 0.05
#: Boxes of any class that overlap more are one object.
OVERLAP = 0.7
#: Most boxes that a detector proposes for an image.
MOST_DETECTED = 1000
#: Most boxes of an image, from whatever source.
MOST_BOXES = 10_000


@dataclass(frozen=True)
class Proposals:
    """``boxes`` ``[N, 4]``, x1 y1 x2 y2 in image pixels, each with an area inside the image;
    ``encode`` makes the decoder's feeds of prompts, as the model's family wants them."""

    boxes: NDArray[np.float64]
    encode: Callable[[Sequence[Prompt], Transform], DecoderPrompts]

    @property
    def centres(self) -> NDArray[np.float64]:
        """``[N, 2]``"""
        return (self.boxes[:, :2] + self.boxes[:, 2:]) / 2

    def prompts(self, indices: NDArray[np.intp], transform: Transform) -> DecoderPrompts:
        return self.encode([Prompt(box=box) for box in self.boxes[indices]], transform)


class Proposers(Closing):
    """What ``proposals=`` may be; each detector is opened once."""

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads
        self._opened: dict[str, YoloDetector] = {}
        self._opening = Lock()

    def boxes(self, source: Any, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Boxes ``[N, 4]`` in ``image`` (RGB uint8 ``[H, W, 3]``), cut at its edges; those without
        an area are left out.

        ``source`` is a detector or segmenter of the YOLO family by path (a bundle, or an ONNX
        file), anything that is called with the image, or the boxes themselves. What is called
        answers with boxes ``[N, 4]`` or with an object that has them as ``boxes``.

        Raises:
            SamDeployError: the detector cannot be opened, or the boxes are none.
        """
        if isinstance(source, (str, os.PathLike)):
            with self._opening:
                source = self._detector(os.fspath(source))
        found = source(image) if callable(source) else source
        boxes = _checked(getattr(found, "boxes", found))
        count = len(boxes)
        detections = Detections(boxes, np.zeros(count, np.float32), np.zeros(count, np.int64))
        return detections.clipped((image.shape[0], image.shape[1])).boxes.astype(np.float64)

    def close(self) -> None:
        for detector in self._opened.values():
            detector.close()
        self._opened.clear()

    def _detector(self, path: str) -> YoloDetector:
        if path not in self._opened:
            # Here and not above: whoever asks at points needs none of it.
            from samdeploy.session import RuntimeOptions
            from samdeploy.yolo.detector import YoloDetector
            from samdeploy.yolo.model import open_yolo
            from samdeploy.yolo.settings import YoloSettings

            settings = YoloSettings(
                conf=CONFIDENCE, iou=OVERLAP, max_det=MOST_DETECTED, agnostic_nms=True
            )
            model = open_yolo(path, options=RuntimeOptions(threads=self._threads))
            self._opened[path] = YoloDetector(model, settings)
        return self._opened[path]


def _checked(found: Any) -> NDArray[np.float32]:
    expected = "expected boxes [N, 4] (x1, y1, x2, y2) in pixels"
    if hasattr(found, "detach"):  # a tensor, which may be on a GPU
        found = found.detach().cpu()
    try:
        boxes = np.asarray(found, np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"proposals gave {shown(found)}; {expected}.") from error
    if not boxes.size:
        return np.zeros((0, 4), np.float32)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise InputError(f"proposals of shape {list(boxes.shape)}; {expected}.")
    if not np.isfinite(boxes).all():
        raise InputError(f"proposals hold values that are not finite; {expected}.")
    if len(boxes) > MOST_BOXES:
        raise InputError(f"{len(boxes)} proposals; expected at most {MOST_BOXES} for an image.")
    return boxes
