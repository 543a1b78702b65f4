"""Arrays that stay on a device: what a call was fed with need not be copied there again.

That is safe only for arrays that nobody can write to. The embedding of an image and what is
prepared from it are such, and the same objects from one decoder call to the next.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np

from samdeploy.session import Array

T = TypeVar("T")


def is_frozen(array: Array) -> bool:
    """Whether an array is read-only, and what it is a view of as well."""
    part: object = array
    while isinstance(part, np.ndarray):
        if part.flags.writeable:
            return False
        part = part.base
    return True


def freeze(array: Array) -> Array:
    """The same array, read-only; for arrays that nobody else holds."""
    array.flags.writeable = False
    return array


class Resident(Generic[T]):
    """For each input of a graph, what ``make`` gave for the frozen array that was last fed to it.

    It is let go as soon as another array comes or that array is gone. Safe for threads: at worst
    two of them make the same thing.
    """

    def __init__(self, make: Callable[[Array], T]) -> None:
        self._make = make
        self._kept: dict[str, tuple[weakref.ref[Array], T]] = {}

    def get(self, name: str, array: Array) -> T:
        kept = self._kept.get(name)
        frozen = is_frozen(array)
        if frozen and kept is not None and kept[0]() is array:
            return kept[1]
        self._kept.pop(name, None)  # before another takes as much memory
        made = self._make(array)
        if frozen:
            self._kept[name] = weakref.ref(array, self._forgetter(name)), made
        return made

    def clear(self) -> None:
        self._kept.clear()

    def _forgetter(self, name: str) -> Callable[[weakref.ref[Array]], None]:
        # Weakly, or the cycle would keep device memory until the garbage collector comes.
        this = weakref.ref(self)

        def forget(array: weakref.ref[Array]) -> None:
            resident = this()
            if resident is not None:
                kept = resident._kept.get(name)
                if kept is not None and kept[0] is array:
                    resident._kept.pop(name, None)

        return forget
