"""Work for an engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from samdeploy.annotation.worker import Worker


@dataclass(frozen=True)
class Cluster:
    """Limits of other processes; ``local`` has none.

    Attributes:
        workers: fewest and most of them; ``None`` is as many as find room.
        cpus, gpus: what each keeps for itself; parts of one are allowed.
    """

    workers: tuple[int, int | None] = (1, None)
    cpus: float = 1.0
    gpus: float = 0.0


@dataclass(frozen=True)
class Work:
    """Images to do, and how.

    Attributes:
        paths: the images.
        open_worker: opens the models; called once per process that works, and picklable for an
            engine that has others.
        cluster: see there.
    """

    paths: Sequence[Path]
    open_worker: Callable[[], Worker]
    cluster: Cluster = Cluster()
