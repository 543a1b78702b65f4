"""Who does the images: an engine takes the work and yields a record per image as it is finished."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from samdeploy.annotation.journal import Record
from samdeploy.annotation.local_engine import run_local
from samdeploy.annotation.work import Work
from samdeploy.errors import InputError
from samdeploy.text import suggestion

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
        raise InputError(f"engine={name} is not known; {suggestion(name, ENGINES)}")
    return ENGINES[name]
