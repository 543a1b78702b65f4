"""The next item is made while the present one is worked on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def prefetch(items: Iterable[T], depth: int = 1) -> Iterator[T]:
    """``items`` in order, up to ``depth`` of them made ahead on a thread.

    What making an item raises is raised here, in its place.
    """
    iterator = iter(items)
    end = object()
    with ThreadPoolExecutor(1, "samdeploy-prefetch") as thread:
        waiting: deque[Future[T | object]] = deque()
        while True:
            while len(waiting) <= depth:
                waiting.append(thread.submit(next, iterator, end))
            item = waiting.popleft().result()
            if item is end:
                return
            yield item  # type: ignore[misc]  # not the end, so an item
