"""A queue of one place, in which the newest counts."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Holds the newest item that nobody has taken; an older one is dropped. Threads may share it.

    Attributes:
        received: items that were put in.
        dropped: those of them that a newer one has replaced.
    """

    def __init__(self) -> None:
        self.received = self.dropped = 0
        self._item: T | None = None
        self._filled = threading.Condition()

    def put(self, item: T) -> None:
        """Put an item in; never waits."""
        with self._filled:
            self.received += 1
            self.dropped += self._item is not None
            self._item = item
            self._filled.notify()

    def take(self, seconds: float = 0.0) -> T | None:
        """Take the item out; ``None`` where none comes within some seconds."""
        with self._filled:
            self._filled.wait_for(lambda: self._item is not None, seconds)
            item, self._item = self._item, None
        return item
