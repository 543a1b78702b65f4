"""One object on its way through the frames."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from samdeploy.geometry import Transform
from samdeploy.prompts import Prompt
from samdeploy.tracking.likeness import Bools, Look, Vector, score
from samdeploy.tracking.settings import TrackSettings

#: Low-res cells are so many input pixels wide.
_CELL = 4
#: Share of the newest frame in the remembered colour: light changes slowly.
_COLOUR_SHARE = 0.1
#: An object whose area changes more than to this share from one frame to the next is being covered
#: or uncovered: the middle of what is seen of it moves, but not as it does.
_STEADY = 0.95
#: An object counts as uncovered with this share of the area that it had when it last was. The
#: remembered area fades by a factor each frame, for objects that shrink.
_WHOLE, _FADE = 0.9, 0.99


@dataclass(frozen=True)
class _Sighting:
    """How an object looked in one frame: ``box`` x1 y1 x2 y2 are its outer edges in image pixels,
    ``velocity`` (x, y) is in cells from frame to frame."""

    frame: int
    look: Look
    box: NDArray[np.float64]
    velocity: Vector


@dataclass(frozen=True)
class Expectation:
    """Where an object should be: ``mask`` bool ``[h, w]`` in low-res cells, and what to ask."""

    mask: Bools
    prompts: list[Prompt]


class Target:
    """What is remembered of an object: how it looked when it was seen last, and when it last was
    not covered, which is what a lost object is looked for with.

    Attributes:
        missing: frames since it was seen; 0 while it is followed.
    """

    def __init__(
        self,
        frame: int,
        look: Look,
        box: NDArray[np.floating],
        transform: Transform,
        settings: TrackSettings,
    ) -> None:
        """The first sighting; ``box`` x1 y1 x2 y2 are the outer edges in image pixels."""
        self.missing = 0
        self._last = _Sighting(frame, look, np.asarray(box, np.float64), np.zeros(2))
        self._whole, self._whole_area = self._last, float(look.area)
        self._steps = 0  # that the velocity was learned from
        self._colour = look.colour
        self._transform, self._settings = transform, settings

    @property
    def given_up(self) -> bool:
        """Whether it was lost for so long that nobody looks for it any more."""
        return self.missing > self._settings.search_frames

    def expect(self, frame: int) -> Expectation:
        """What to ask of ``frame``: the box where it should be, and the innermost point. Apart from
        each other, because each is right where the other goes wrong. Nothing where it should be out
        of the image."""
        seen = self._whole if self.missing else self._last
        shift = seen.velocity * (frame - seen.frame)
        expected = _shifted(seen.look.mask, shift)
        height, width = self._transform.original_size
        corners = seen.box.reshape(2, 2) + self._transform.points_to_image(shift * _CELL)
        corners = corners.clip(0, (width, height))
        if not expected.any() or not (corners[0] < corners[1]).all():
            return Expectation(expected, [])
        inside = self._transform.points_to_image(innermost(expected) * _CELL)
        point = Prompt(points=inside.clip(0, (width, height)))
        return Expectation(expected, [Prompt(box=corners.ravel()), point])

    def score(self, now: Look, expected: Bools, predicted_iou: float) -> float:
        """How surely ``now`` is this object; see :func:`samdeploy.tracking.likeness.score`."""
        return score(now, expected, self._colour, predicted_iou, self._settings.colour_tolerance)

    def accepts(self, score: float) -> bool:
        """Whether a mask of this score is the object."""
        settings = self._settings
        return score >= (settings.found_from if self.missing else settings.lost_below)

    def see(self, frame: int, now: Look, box: NDArray[np.floating]) -> None:
        """Take ``now`` for the object; ``box`` as at first."""
        seen = self._whole if self.missing else self._last
        velocity = seen.velocity
        if min(now.area, seen.look.area) >= _STEADY * max(now.area, seen.look.area):
            # The mean of all steps at first, of the latest ones later.
            self._steps += 1
            share = max(1 - self._settings.inertia, 1 / self._steps)
            step = (now.centre - seen.look.centre) / (frame - seen.frame)
            velocity = (1 - share) * velocity + share * step
        self._colour = (1 - _COLOUR_SHARE) * self._colour + _COLOUR_SHARE * now.colour
        self._last = _Sighting(frame, now, np.asarray(box, np.float64), velocity)
        self.missing = 0
        self._whole_area *= _FADE
        if now.area >= _WHOLE * self._whole_area:
            self._whole, self._whole_area = self._last, float(now.area)

    def miss(self) -> None:
        """Take it that the object is not in sight."""
        self.missing += 1


def _shifted(mask: Bools, shift: Vector) -> Bools:
    """``mask`` ``[h, w]`` moved by ``shift`` (x, y), which need not be whole."""
    height, width = mask.shape
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float64)
    moved = cv2.warpAffine(mask.astype(np.float32), matrix, (width, height))
    return np.asarray(moved > 0.5, bool)


def innermost(mask: Bools) -> Vector:
    """(x, y) of the middle of the cell of ``mask`` ``[h, w]`` that is farthest from its edge; the
    border counts as an edge."""
    padded = np.pad(mask, 1).astype(np.uint8)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    y, x = np.unravel_index(int(distance.argmax()), mask.shape)
    return np.array([x + 0.5, y + 0.5])
