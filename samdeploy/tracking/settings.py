"""Settings of tracking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from samdeploy.errors import InputError
from samdeploy.limits import number, whole
from samdeploy.text import suggestion

#: Least and most of every setting.
RANGES = {
    "lost_below": (0.0, 1.0),
    "found_from": (0.0, 1.0),
    "inertia": (0.0, 0.99),
    "colour_tolerance": (1.0, 450.0),
}
#: The same of the one that counts frames.
MOST_FRAMES = 10**9


@dataclass(frozen=True)
class TrackSettings:
    """When an object counts as lost, and where it is looked for.

    Attributes:
        lost_below: an object is lost where its score is below this; 0 loses only what vanishes.
        found_from: a lost object is found again from this score on; not below ``lost_below``.
        search_frames: for so many frames a lost object is looked for, then it is given up.
        inertia: share of its motion that an object keeps from one frame to the next; 0 believes the
            last two frames alone.
        colour_tolerance: change of an object's mean colour, as a distance in RGB of 0 to 255, at
            which its likeness falls to 1/e.
    """

    lost_below: float = 0.5
    found_from: float = 0.6
    search_frames: int = 30
    inertia: float = 0.75
    colour_tolerance: float = 40.0

    def __post_init__(self) -> None:
        for name, span in RANGES.items():
            object.__setattr__(self, name, number(name, getattr(self, name), *span))
        frames = whole("search_frames", self.search_frames, 0, MOST_FRAMES)
        object.__setattr__(self, "search_frames", frames)
        if self.found_from < self.lost_below:
            raise InputError(
                f"found_from={self.found_from:g} is below lost_below={self.lost_below:g}, so that "
                "what is found would be lost at once; expected at least as much."
            )

    @classmethod
    def from_names(cls, values: Mapping[str, Any]) -> TrackSettings:
        """Settings from keyword arguments.

        Raises:
            InputError: an unknown name, or a value out of range.
        """
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise InputError(f"unknown setting '{name}'; {suggestion(name, known)}")
        return cls(**values)
