"""One training picture: what the makers of rooms and collages give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Label of pixels that nobody is asked about: parts of photographs whose objects nobody marked.
UNKNOWN = 255


@dataclass(frozen=True)
class Sample:
    """``image`` float32 ``[S, S, 3]`` RGB from 0 to 255; ``labels`` uint8 ``[S, S]``, 0 for
    nothing; ``parents`` uint8 ``[256]``, of what each label is a part, or 0."""

    image: NDArray[np.float32]
    labels: NDArray[np.uint8]
    parents: NDArray[np.uint8]
