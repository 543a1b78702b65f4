"""Work on threads: the next item made ahead, the last one finished behind, or several at a time."""

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


def behind(function: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
    """Results of ``function`` in the order of ``items``, each made on a thread while the next item
    is waited for.

    What a call raises, or an item, is raised here in its place, and nothing is begun after it.
    """
    iterator, end = iter(items), object()
    with ThreadPoolExecutor(1, "samdeploy-behind") as thread:
        made: Future[T] | None = None
        while True:
            try:
                item = next(iterator, end)
            except Exception:
                if made is not None:
                    yield made.result()
                raise
            done = [] if made is None else [made.result()]
            if item is end:
                yield from done
                return
            made = thread.submit(function, item)  # type: ignore[arg-type]  # not the end, so an item
            yield from done


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
