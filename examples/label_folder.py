"""A folder of pictures to labels for a trainer, with boxes of a detector of your own.

samdeploy export model=sam_tiny.pt
python examples/label_folder.py sam_tiny_onnx pictures
"""

import sys
from pathlib import Path
from typing import ClassVar

import numpy as np

import samdeploy
from samdeploy.detections import Detections


class BrightestSpot:
    """Any object with ``names`` and this call is a detector; here 32 pixels around the maximum."""

    names: ClassVar = {0: "bright"}

    def __call__(self, image: np.ndarray) -> Detections:
        """``image`` is RGB ``[height, width, 3]``; boxes are x1 y1 x2 y2 in its pixels."""
        height, width = image.shape[:2]
        y, x = np.unravel_index(image.sum(axis=2).argmax(), (height, width))
        box = [max(x - 32, 0), max(y - 32, 0), min(x + 32, width), min(y + 32, height)]
        return Detections(np.array([box], np.float32), np.ones(1, np.float32), np.zeros(1, int))


summary = samdeploy.auto_annotate(
    Path(sys.argv[2]), det_model=BrightestSpot(), sam_model=sys.argv[1]
)
print(f"{summary.labelled} labelled in {summary.output_dir}")
