"""Connections that ask nothing or read nothing: they are closed, or their number would grow without
end."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol


def impatient(seconds: float) -> type[H11Protocol]:
    """uvicorn's protocol, with a limit to how long the head of a request may take to arrive, and to
    how long a client may read nothing of what is there for it."""

    class Impatient(H11Protocol):
        _timer: asyncio.TimerHandle | None = None
        _reading: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            super().connection_made(transport)
            self._watch()
            self._watch_reading(0)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            for timer in (self._timer, self._reading):
                if timer is not None:
                    timer.cancel()

        def _watch(self) -> None:
            asking = self.cycle is not None and not self.cycle.response_complete
            if asking and self._timer is not None:
                self._timer.cancel()
                self._timer = None
            elif not asking and self._timer is None:
                self._timer = self.loop.call_later(seconds, self.transport.close)

        def _watch_reading(self, unread: int) -> None:
            """``unread`` bytes waited when this was looked at last."""
            waiting = self.transport.get_write_buffer_size()
            if waiting and waiting == unread:
                self.transport.abort()  # closing would wait until everything is read
            else:
                self._reading = self.loop.call_later(seconds, self._watch_reading, waiting)

    return Impatient
