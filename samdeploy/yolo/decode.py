"""The output of a YOLO head to detections: confidence, classes and non-maximum suppression.

Heads of YOLOv8 and its successors answer for ``A`` places of the image at once. ``output0`` is
``[1, 4 + C + M, A]``: centre x, centre y, width and height in input pixels, ``C`` class scores in
0-1, and for a segmenter ``M`` coefficients of its mask prototypes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from samdeploy.detections import Detections
from samdeploy.masks.postprocess import nms
from samdeploy.yolo.settings import YoloSettings

Floats = NDArray[np.float32]

#: Boxes that enter the suppression at most, the best of them.
MOST_CANDIDATES = 30_000
#: Boxes of different classes are moved this many pixels apart, so that they never overlap. In
#: float32, as everywhere else, because it rounds: at class 79 to a sixteenth of a pixel.
CLASS_OFFSET = np.float32(7680)


def decode(output: Floats, class_count: int, settings: YoloSettings) -> tuple[Detections, Floats]:
    """Detections with boxes in input pixels, and the mask coefficients ``[N, M]`` of each.

    The steps and their order are those of Ultralytics' post-processing.

    Args:
        output: ``[4 + C + M, A]``, the head's answer for one image.
    """
    scores = output[4 : 4 + class_count]
    places = np.flatnonzero(scores.max(axis=0) > settings.conf)
    classes = scores[:, places].argmax(axis=0)
    if settings.classes is not None:
        wanted = np.isin(classes, settings.classes)
        places, classes = places[wanted], classes[wanted]
    confidence = scores[classes, places]
    if len(places) > MOST_CANDIDATES:
        best = np.argsort(-confidence, kind="stable")[:MOST_CANDIDATES]
        places, classes, confidence = places[best], classes[best], confidence[best]
    boxes = _corners(output[:4, places].T)
    apart = boxes if settings.agnostic_nms else boxes + (classes * CLASS_OFFSET)[:, None]
    keep = nms(apart, confidence, settings.iou)[: settings.max_det]
    found = Detections(boxes[keep], confidence[keep], classes[keep].astype(np.int64))
    return found, output[4 + class_count :, places[keep]].T


def _corners(boxes: Floats) -> Floats:
    """``[N, 4]`` centre x, centre y, width, height to x1 y1 x2 y2."""
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=1)
