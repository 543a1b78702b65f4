"""What dora tells a node."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any, Protocol

import dora
import pyarrow as pa

from samdeploy.errors import RuntimeUnavailableError

# pyarrow imports pandas, where that is installed, at its first conversion, which may take seconds:
# better now than when the frames come.
pa.array([0]).to_numpy()

Event = dict[str, Any]


class Source(Protocol):
    """What is asked of a ``dora.Node``."""

    def next(self) -> Event | None: ...

    def drain(self) -> list[Event]: ...


def connect() -> Any:
    """This process as a node of the dataflow, which ends by the event ``STOP``: the signal that
    dora sends as well would not let it finish what it has begun."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return dora.Node()


def batches(node: Source, until: str | None = None) -> Iterator[list[Event]]:
    """All inputs that are there, as soon as there is one; ends when the input ``until``, or else
    all, will send no more. dora tells of an end before the last inputs, so these are not lost.

    Raises:
        RuntimeUnavailableError: dora cannot go on.
    """
    while (event := node.next()) is not None:
        events = [event, *_rest(node)]
        for each in events:
            if each["type"] == "ERROR":
                raise RuntimeUnavailableError(f"dora failed: {each['error']}")
        yield [each for each in events if each["type"] == "INPUT"]
        if any(_ends(each, until) for each in events):
            return


def _rest(node: Source) -> list[Event]:
    try:
        return node.drain()
    except RuntimeError as error:
        if "closed" not in str(error):
            raise
        return []  # a stopped dataflow has nothing more to say


def _ends(event: Event, until: str | None) -> bool:
    kind, id = event["type"], event.get("id")
    return kind == "STOP" or (kind, id) == ("INPUT_CLOSED", until)
