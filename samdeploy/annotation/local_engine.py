"""The work of a run in this process: reading and writing go on beside the model."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from samdeploy.annotation.instances import ReadImage
from samdeploy.annotation.journal import Record
from samdeploy.annotation.work import Work
from samdeploy.annotation.worker import attempt

#: Images that are read ahead of the model, and images that wait behind it to be written.
_AHEAD, _BEHIND = 3, 3


def run_local(work: Work) -> Iterator[Record]:
    """In this process: the model in this thread, reading and writing beside it. Records come in the
    order of the paths."""
    worker = work.open_worker()
    waiting = iter(work.paths)
    reading: deque[tuple[Path, Future[ReadImage | Record]]] = deque()
    writing: deque[Future[Record]] = deque()
    readers, writer = ThreadPoolExecutor(2, "read"), ThreadPoolExecutor(1, "write")
    try:
        while True:
            while len(reading) < _AHEAD and (path := next(waiting, None)) is not None:
                reading.append((path, readers.submit(attempt, worker.read, path, path)))
            if not reading:
                break
            path, image = reading.popleft()
            item = attempt(worker.annotate, path, image.result())
            writing.append(writer.submit(attempt, worker.write, path, item))
            del image, item  # while the next one is read
            while writing and (len(writing) > _BEHIND or writing[0].done()):
                yield writing.popleft().result()
        while writing:
            yield writing.popleft().result()
    finally:
        for pool in (readers, writer):
            pool.shutdown(cancel_futures=True)
