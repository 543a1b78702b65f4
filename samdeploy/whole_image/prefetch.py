"""The next item is made while the present one is worked on, or several at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
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


def side_by_side(function: Callable[[S], T], items: Iterable[S], count: int) -> Iterator[T]:
    """Results of ``function`` in the order of ``items``, ``count`` calls at a time.

    What a call raises is raised here, in its place.
    """
    if count == 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(count, "samdeploy-parallel") as threads:
        waiting: deque[Future[T]] = deque()
        for item in items:
            waiting.append(threads.submit(function, item))
            if len(waiting) > count:  # one more, so that no thread waits for the next item
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
