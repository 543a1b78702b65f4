"""What a detector found in one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Detections:
    """``N`` boxes, best first.

    Attributes:
        boxes: ``[N, 4]`` float32, x1 y1 x2 y2 in image pixels.
        scores: ``[N]`` float32 confidence.
        classes: ``[N]`` int64 class ids; a detector's ``names`` say what they mean.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, keep: slice | ArrayLike) -> Detections:
        """Those at a slice, an array of indices or a boolean array."""
        wanted: Any = keep if isinstance(keep, slice) else np.asarray(keep)
        return Detections(self.boxes[wanted], self.scores[wanted], self.classes[wanted])
