"""The server as a process: its socket, its token, and an end without losing what has begun."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import FrameType
from typing import Any

import uvicorn

from samdeploy.closing import Closing
from samdeploy.errors import InputError, RuntimeUnavailableError
from samdeploy.serving.application import application
from samdeploy.serving.connections import impatient
from samdeploy.serving.models import open_models
from samdeploy.serving.service import Service
from samdeploy.serving.settings import ServerSettings

#: Connections at once; more are sent away.
_MOST_CONNECTIONS = 128
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Server(Closing):
    """A server that listens in a thread of its own, from the moment that it is made.

    Args:
        service: what answers; the caller closes its models after the server.
    """

    def __init__(self, service: Service) -> None:
        settings = service.settings
        self._socket = listen(settings.host, settings.port)
        config = uvicorn.Config(
            application(service),
            http=impatient(settings.body_seconds),
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=_MOST_CONNECTIONS,
        )
        self._uvicorn = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._uvicorn.run, kwargs={"sockets": [self._socket]}, name="samdeploy serve"
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it can be reached, by its address."""
        host, port = self._socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Ask it to end: no new requests, and the present ones are answered."""
        self._uvicorn.should_exit = True

    def wait(self, seconds: float | None = None) -> None:
        """Wait until it has ended, or for some seconds."""
        self._thread.join(seconds)

    def close(self) -> None:
        self.stop()
        self.wait()
        self._socket.close()


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        InputError: the address is not one of this machine, or the port is in use.
    """
    try:
        [(family, *_, address)] = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[:1]
        return socket.create_server(address[:2], family=family, backlog=_MOST_CONNECTIONS)
    except (OSError, ValueError) as error:  # ValueError: it is no name at all, as "a..b"
        why = getattr(error, "strerror", None) or error
        raise InputError(
            f"host={host} port={port} cannot be listened on ({why}); choose another port, or an "
            "address of this machine."
        ) from error


def serve(
    models: Sequence[str],
    settings: ServerSettings,
    started: Callable[[Server, Service], None],
    **opening: Any,
) -> None:
    """Serve until a signal (SIGINT, SIGTERM) comes; a second one ends the process at once, with 128
    and its number as status.

    Args:
        models: bundle folders.
        started: is called once requests are taken.
        opening: ``runtime``, ``device`` and ``options`` of the models.

    Raises:
        SamDeployError: a model cannot be opened, or the address not be listened on.
    """
    if settings.token is None and not settings.is_private:
        settings = replace(settings, token=secrets.token_urlsafe(24))
    with ExitStack() as stack:
        opened = open_models(models, settings.queue, **opening)
        for model in opened.values():
            stack.callback(model.close)
        service = stack.enter_context(Service(opened, settings))
        server = stack.enter_context(Server(service))

        def stop(number: int, frame: FrameType | None) -> None:
            if stopping.is_set():
                os._exit(128 + number)  # anything less waits for threads that compute
            stopping.set()
            server.stop()

        stopping = threading.Event()
        before = {number: signal.signal(number, stop) for number in _SIGNALS}
        try:
            started(server, service)
            while server.runs:  # a wait without an end would hear no signal on Windows
                server.wait(0.5)
            stack.close()  # what nobody waits for any more may take long
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if not stopping.is_set():
            raise RuntimeUnavailableError("the server ended by itself; see its output above.")
