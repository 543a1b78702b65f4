"""What a detector returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
