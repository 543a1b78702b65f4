"""Who does the images: an engine takes the work and yields a record per image as it is finished."""

from __future__ import annotations

import difflib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from samdeploy.annotation.instances import ReadImage
from samdeploy.annotation.journal import Record
from samdeploy.annotation.worker import Worker, attempt
from samdeploy.errors import InputError

#: Images that are read ahead of the model, and images that wait behind it to be written.
_AHEAD, _BEHIND = 3, 3


@dataclass(frozen=True)
class Cluster:
    """What other processes may take; ``local`` has none.

    Attributes:
        workers: fewest and most of them; ``None`` is as many as find room.
        cpus, gpus: what each keeps for itself; parts of one are allowed.
    """

    workers: tuple[int, int | None] = (1, None)
    cpus: float = 1.0
    gpus: float = 0.0


@dataclass(frozen=True)
class Work:
    """What is to be done.

    Attributes:
        paths: the images.
        open_worker: opens the models; called once per process that works, and picklable for an
            engine that has others.
        cluster: see there.
    """

    paths: Sequence[Path]
    open_worker: Callable[[], Worker]
    cluster: Cluster = Cluster()


#: Takes the work and yields the records.
Run: TypeAlias = Callable[[Work], Iterator[Record]]


@dataclass(frozen=True)
class Engine:
    """Who does the work.

    Attributes:
        run: does it.
        elsewhere: other processes do, and open the models themselves.
        check: raises :class:`RuntimeUnavailableError` where the engine is not usable.
    """

    run: Run
    elsewhere: bool = False
    check: Callable[[], None] = lambda: None


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


def _run_ray(work: Work) -> Iterator[Record]:
    # Here and not above: Ray is an extra, and slow to import.
    from samdeploy.annotation.ray_engine import run_ray

    return run_ray(work)


def _check_ray() -> None:
    from samdeploy.annotation.ray_engine import import_ray

    import_ray()


ENGINES = {"local": Engine(run_local), "ray": Engine(_run_ray, True, _check_ray)}


def find_engine(name: str) -> Engine:
    """The engine of that name.

    Raises:
        InputError: no such engine.
    """
    if name not in ENGINES:
        close = difflib.get_close_matches(name, ENGINES, 1)
        hint = f"did you mean '{close[0]}'?" if close else f"expected {' or '.join(ENGINES)}."
        raise InputError(f"engine={name} is not known; {hint}")
    return ENGINES[name]
