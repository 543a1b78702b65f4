"""How many other processes there may be, and what each may take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np

from samdeploy.errors import InputError
from samdeploy.limits import number
from samdeploy.text import shown


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

    @classmethod
    def of(
        cls, workers: int | Sequence[int] | None, cpus: float | None, gpus: float | None
    ) -> Cluster:
        """Limits as users give them, ``None`` for the default.

        Raises:
            InputError: one of them is not usable.
        """
        return cls(
            cls.workers if workers is None else _fewest_and_most(workers),
            cls.cpus if cpus is None else number("worker_cpus", cpus, 0),
            cls.gpus if gpus is None else number("worker_gpus", gpus, 0),
        )


def _fewest_and_most(workers: int | Sequence[int]) -> tuple[int, int]:
    counts = np.atleast_1d(np.asarray(workers, object)).tolist()
    whole = all(isinstance(n, Integral) and not isinstance(n, bool) for n in counts)
    if not whole or len(counts) not in (1, 2) or not 1 <= counts[0] <= counts[-1]:
        raise InputError(
            f"workers={shown(workers)}; expected their number, such as 4, or fewest and most, "
            "such as [1, 16]."
        )
    return int(counts[0]), int(counts[-1])
