"""What goes into a node and comes out, whatever carries it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samdeploy.errors import InputError
from samdeploy.masks.rle import Rle
from samdeploy.prompts import Prompt
from samdeploy.text import shown


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class CameraFrame:
    """A frame that may be dropped: ``read`` makes its pixels, for :meth:`samdeploy.SAM.encode` in
    RGB order, once it is its turn. ``header`` is handed on as it is."""

    read: Callable[[], NDArray[Any]]
    header: Any = None


@dataclass(frozen=True)
class Request:
    """What names one object, in pixels of the frame.

    Attributes:
        points: (x, y) each.
        labels: 1 (foreground) or 0 (background) a point; all foreground when left out.
        box: x1 y1 x2 y2; what is beyond the image is cut off, as detectors need.
        name: what the object is called, such as a detector's class.
    """

    points: Sequence[Sequence[float]] = ()
    labels: Sequence[int] = ()
    box: Sequence[float] = ()
    name: str = ""

    def prompt(self, size: tuple[int, int] | None = None) -> Prompt:
        """The prompt in an image of ``size`` (height, width).

        Raises:
            InputError: what is no list of numbers; what else is wrong shows when it is used.
        """
        try:
            points = [[float(value) for value in point] for point in self.points]
            labels, box = list(self.labels), [float(value) for value in self.box]
        except (TypeError, ValueError) as error:
            raise InputError(
                f"points={shown(self.points)}, labels={shown(self.labels)}, box={shown(self.box)}; "
                "expected [[x, y], ...], [1, ...] and [x1, y1, x2, y2]."
            ) from error
        if size is not None and len(box) == 4:
            edges = (size[1], size[0]) * 2
            box = [min(max(value, 0.0), edge) for value, edge in zip(box, edges, strict=True)]
        return Prompt(points=points or None, labels=labels or None, box=box or None)


@dataclass(frozen=True, eq=False)
class Found:
    """An object in one frame.

    Attributes:
        id: from 1 to 65535, the same in every frame; also its value in the picture of labels.
        followed: whether it is looked for in the next frame as well.
        box: x1 y1 x2 y2, the outer edges of the mask in pixels.
        area: pixels of the mask.
        score: how surely it is the object, 0 to 1; of one that is not followed the predicted IoU.
        rle: the mask.
    """

    id: int
    name: str
    followed: bool
    box: tuple[float, float, float, float]
    area: int
    score: float
    rle: Rle


@dataclass(frozen=True, eq=False)
class Segmented:
    """One frame after the node.

    Attributes:
        number: of the frame, from 0 on; dropped ones have none.
        header: of the frame.
        size: (height, width) in pixels.
        found: objects with a mask, those that are followed first.
        lost: ids of objects that are followed and have none.
        ended: ids that are given up from this frame on, and why.
        labels: uint16 ``[H, W]``, the id at each pixel, 0 where there is none; small objects lie
            over large ones.
    """

    number: int
    header: Any
    size: tuple[int, int]
    found: tuple[Found, ...]
    lost: tuple[int, ...]
    ended: Mapping[int, str]
    labels: NDArray[np.uint16]


class Level(IntEnum):
    """How a node is, by the numbers of ``diagnostics_msgs/DiagnosticStatus``."""

    OK = 0
    WARN = 1
    ERROR = 2


@dataclass(frozen=True)
class Diagnosis:
    """One sentence on how a node is, and its figures by name."""

    level: Level
    message: str
    values: Mapping[str, str | int | float]
