"""One thing after the other, and a queue that ends somewhere."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TypeVar

from samdeploy.serving.refusals import RefusedError

T = TypeVar("T")


class Turns:
    """Work for threads of its own: ``side_by_side`` at a time, and no more than some that wait."""

    def __init__(self, what: str, most_waiting: int, side_by_side: int = 1) -> None:
        self._what = what
        self._most = most_waiting + side_by_side
        self._threads = ThreadPoolExecutor(side_by_side, thread_name_prefix=what)
        self._lock = Lock()
        self._taken = 0
        self._seconds = 0.0

    @property
    def waiting(self) -> int:
        """Requests that are not done, the present ones too."""
        return self._taken

    async def take(self, work: Callable[[], T]) -> T:
        """The result of ``work``, when it is its turn.

        Raises:
            RefusedError: too many wait already; it says after how many seconds to try again.
        """
        with self._lock:
            if self._taken >= self._most:
                wait = max(1, math.ceil(self._seconds * self._taken))
                raise RefusedError(
                    503,
                    f"{self._what} is busy, {self._taken} requests are before this one; try again "
                    f"in {wait} s.",
                    {"Retry-After": str(wait)},
                )
            self._taken += 1
        future = self._threads.submit(self._measured, work)
        # Also where nobody waits for it any more: it is done only when it is done.
        future.add_done_callback(lambda _: self._give_back())
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Wait for what has begun."""
        self._threads.shutdown(cancel_futures=True)

    def _measured(self, work: Callable[[], T]) -> T:
        started = time.perf_counter()
        try:
            return work()
        finally:
            self._seconds = time.perf_counter() - started

    def _give_back(self) -> None:
        with self._lock:
            self._taken -= 1
