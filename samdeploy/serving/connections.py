"""Connections that ask nothing: they are closed, or their number would grow without end."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol


def impatient(seconds: float) -> type[H11Protocol]:
    """uvicorn's protocol, with a limit to how long the head of a request may take to arrive."""

    class Impatient(H11Protocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def _watch(self) -> None:
            asking = self.cycle is not None and not self.cycle.response_complete
            if asking and self._timer is not None:
                self._timer.cancel()
                self._timer = None
            elif not asking and self._timer is None:
                self._timer = self.loop.call_later(seconds, self.transport.close)

    return Impatient
