"""Servers in this process, on free ports of 127.0.0.1."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from samdeploy import SAM
from samdeploy.masks.masks import Masks
from samdeploy.scenes import Scene
from samdeploy.serving.models import ServedModel, open_models
from samdeploy.serving.run import Server
from samdeploy.serving.service import Service
from samdeploy.serving.settings import ServerSettings
from tests.serving.client import Client, png


class Running(Client):
    """A client of a server, and what is inside it."""

    def __init__(self, service: Service, server: Server) -> None:
        super().__init__(server.url)
        self.service, self.server = service, server


Start: TypeAlias = Callable[..., Any]


@pytest.fixture(scope="session")
def models(tiny_bundle: Path, small_bundle: Path) -> Iterator[dict[str, ServedModel]]:
    """The shipped model, which is the default, and another one."""
    with ExitStack() as stack:
        opened = open_models([str(tiny_bundle), str(small_bundle)], 16)
        for model in opened.values():
            stack.callback(model.close)
        yield opened


@pytest.fixture(scope="session")
def start(models: dict[str, ServedModel]) -> Start:
    """A server of these models with the given settings."""

    @contextmanager
    def started(**settings: Any) -> Iterator[Running]:
        with (
            Service(models, ServerSettings(port=0, **settings)) as service,
            Server(service) as server,
        ):
            yield Running(service, server)

    return started


@pytest.fixture(scope="session")
def server(start: Start) -> Iterator[Running]:
    with start(max_mb=2, max_pixels=1_000_000) as running:
        yield running


@pytest.fixture(scope="session")
def sam(tiny_bundle: Path) -> Iterator[SAM]:
    """The default model itself."""
    with SAM(tiny_bundle) as opened:
        yield opened


@pytest.fixture(scope="session")
def file(scene: Scene) -> bytes:
    """A picture of 240 x 180 pixels as PNG."""
    return png(scene.image)


@pytest.fixture(scope="session")
def clicked(sam: SAM, scene: Scene) -> Masks:
    """The answer to a click in the middle."""
    return sam.predict(scene.image, points=[120, 90], channel_order="rgb")


@pytest.fixture(scope="session")
def boxed(sam: SAM, scene: Scene) -> Masks:
    """The answer to a box of the middle half."""
    return sam.predict(scene.image, bboxes=[60, 45, 180, 135], channel_order="rgb")
