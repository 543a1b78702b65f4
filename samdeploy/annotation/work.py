"""Work for an engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from samdeploy.annotation.cluster import Cluster
from samdeploy.annotation.worker import Worker


@dataclass(frozen=True)
class Work:
    """Images to do, and how.

    Attributes:
        paths: the images.
        open_worker: opens the models; called once per process that works, and picklable for an
            engine that has others.
        cluster: limits of those processes.
    """

    paths: Sequence[Path]
    open_worker: Callable[[], Worker]
    cluster: Cluster = field(default_factory=Cluster)
