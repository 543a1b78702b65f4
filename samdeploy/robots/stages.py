"""How long each part of the work on a frame takes, of the latest frames."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Times:
    """Seconds that half of the frames, and 99 of 100, took at most, and what the slowest took."""

    p50: float
    p99: float
    worst: float


class Stages:
    """The times of the latest frames by the name of the stage; older ones are forgotten. Threads
    may share it.

    Args:
        names: of the stages.
        window: frames that are remembered.
        clock: seconds, from any beginning on.
    """

    def __init__(self, names: Iterable[str], window: int, clock: Callable[[], float]) -> None:
        self._seconds: dict[str, deque[float]] = {name: deque(maxlen=window) for name in names}
        self._ends: deque[float] = deque(maxlen=window)
        self._clock = clock
        self._lock = threading.Lock()

    def add(self, stage: str, seconds: float) -> None:
        """Remember what a stage took."""
        with self._lock:
            self._seconds[stage].append(seconds)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Remember how long the block took; one that fails is not remembered."""
        started = self._clock()
        yield
        self.add(stage, self._clock() - started)

    def end_frame(self) -> None:
        """Count a frame for :meth:`rate`."""
        with self._lock:
            self._ends.append(self._clock())

    def rate(self) -> float:
        """Frames a second; 0 before there are two."""
        with self._lock:
            seconds = self._ends[-1] - self._ends[0] if self._ends else 0.0
            return (len(self._ends) - 1) / seconds if seconds else 0.0

    def summary(self) -> dict[str, Times]:
        """By stage; without those that have not been yet."""
        with self._lock:
            taken = {name: sorted(seconds) for name, seconds in self._seconds.items() if seconds}
        return {
            name: Times(percentile(each, 50), percentile(each, 99), each[-1])
            for name, each in taken.items()
        }


def percentile(ascending: Sequence[float], percent: float) -> float:
    """The smallest value that at least ``percent`` of 100 do not exceed (nearest rank)."""
    return ascending[max(0, math.ceil(len(ascending) * percent / 100) - 1)]
