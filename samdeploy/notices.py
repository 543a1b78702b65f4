"""Notices: a user should know, although the work goes on."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

_LOG = logging.getLogger("samdeploy")
# Libraries that are used beside raise the root's level, which would silence these.
_LOG.setLevel(logging.WARNING)

#: Of one kind, how many are shown in full.
_SHOWN = 3


def notice(sentence: str, *values: object) -> None:
    """Say ``sentence % values``; the same ``sentence`` means the same kind of notice.

    It goes to the logger ``samdeploy`` as a warning: on standard error unless the program set up
    logging. From any thread.
    """
    _LOG.warning(sentence, *values)


class NoticeLines(logging.Handler):
    """Hands each notice to ``show`` as a line, the first few of a kind; :meth:`total` says how many
    more there were. Used as a context manager, it takes the place of the default output."""

    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._show = show
        self._first: dict[str, str] = {}
        self._counts: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        kind, message = str(record.msg), record.getMessage()
        self._first.setdefault(kind, message)
        self._counts[kind] += 1
        if self._counts[kind] <= _SHOWN:
            self._show(f"warning: {message}")

    def total(self) -> None:
        """Say how many notices of each kind were not shown."""
        for kind, count in self._counts.items():
            if count > _SHOWN:
                self._show(f"warning: {count - _SHOWN} more like this: {self._first[kind]}")

    def __enter__(self) -> NoticeLines:
        _LOG.addHandler(self)
        return self

    def __exit__(self, *error: object) -> None:
        _LOG.removeHandler(self)
        self.total()
