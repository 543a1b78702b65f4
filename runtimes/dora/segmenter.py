"""The node: :class:`samdeploy.robots.node.Node` between dora's inputs and outputs.

Settings are environment variables: ``SAM_MODEL``, ``SAM_DEVICE``... Inputs, of which any may be
left out: ``image``; ``prompts`` for the next frame; ``add`` and ``remove``, which are answered in
``reply``; ``tick``, at which ``diagnostics`` are sent. Every frame is answered with ``labels`` and
``objects``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from samdeploy.errors import InputError, SamDeployError
from samdeploy.image_options import DEFAULT_OPTIONS, ImageOptions
from samdeploy.limits import whole
from samdeploy.robots.messages import CameraFrame, Segmented
from samdeploy.robots.node import Node
from samdeploy.robots.settings import NodeSettings
from samdeploy.runtimes.dora.events import Event, batches, connect
from samdeploy.runtimes.dora.messages import (
    diagnosis_message,
    image_message,
    pixels_of,
    reply_message,
    requests_of,
    result_message,
)

PREFIX = "SAM_"


class Segmenter:
    """Hands dora's inputs to a node, and what it answers to dora.

    Args:
        send: of the node in dora: the output, its array and its metadata.
        images: how compressed frames are read.
    """

    def __init__(
        self,
        node: Node,
        send: Callable[[str, Any, dict[str, Any]], object],
        images: ImageOptions = DEFAULT_OPTIONS,
    ) -> None:
        self._node, self._send, self._images = node, send, images
        self._newest, self._missed = -1, 0
        self._inputs: dict[str, Callable[[Event], None]] = {
            "image": self._image,
            "prompts": partial(self._reply, self._prompts),
            "add": partial(self._reply, self._add),
            "remove": partial(self._reply, self._remove),
            "tick": lambda event: self.tell(),
        }

    def take(self, event: Event) -> None:
        """Take an input.

        Raises:
            InputError: none of ours.
        """
        if event["id"] not in self._inputs:
            raise InputError(f"input '{event['id']}'; expected {', '.join(self._inputs)}.")
        self._inputs[event["id"]](event)

    def step(self) -> None:
        """Segment the newest frame, if there is one."""
        self._node.step(self._publish)

    def tell(self) -> None:
        """Send diagnostics; ``frames_missed`` are those that dora has dropped, told by the numbers
        that the camera gives its frames."""
        told = self._node.diagnosis()
        values = {**told.values, "frames_missed": self._missed}
        self._send("diagnostics", diagnosis_message(replace(told, values=values)), {})

    def _image(self, event: Event) -> None:
        number = event["metadata"].get("frame")
        if isinstance(number, int):
            self._missed += max(0, number - self._newest - 1)
            self._newest = number
        read = partial(pixels_of, event["value"], event["metadata"], self._images)
        self._node.offer(CameraFrame(read, _kept(event)))

    def _prompts(self, event: Event, ids: list[int]) -> None:
        self._node.prompt(requests_of(event["value"]), ids.append)

    def _add(self, event: Event, ids: list[int]) -> None:
        for each in requests_of(event["value"]):
            ids.append(self._node.add(each))  # those before a refused one count

    def _remove(self, event: Event, ids: list[int]) -> None:
        for id in event["value"].to_pylist():
            self._node.remove(whole("id", id, 1))

    def _reply(self, act: Callable[[Event, list[int]], None], event: Event) -> None:
        """Act, and answer with the ids of new objects, and with what is wrong."""
        ids: list[int] = []
        error = ""
        try:
            act(event, ids)
        except SamDeployError as refused:
            error = str(refused)
        self._send("reply", reply_message(ids, error), {**_kept(event), "input": event["id"]})

    def _publish(self, result: Segmented) -> None:
        labels, metadata = image_message(result.labels, "mono16")
        self._send("labels", labels, {**result.header, **metadata})
        self._send("objects", result_message(result), result.header)


def _kept(event: Event) -> dict[str, Any]:
    """What the sender has said beside its data, without what is of dora or of the data."""
    gone = ("timestamp", "encoding", "height", "width", "primitive", "open_telemetry_context")
    return {name: value for name, value in event["metadata"].items() if name not in gone}


def main() -> None:
    given = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in os.environ.items()
        if name.startswith(PREFIX)
    }
    settings = NodeSettings.from_texts(given)
    with Node.open(settings) as node:
        # Only now: dora starts the camera when every node is there, so the model is warm by then.
        middleware = connect()
        segmenter = Segmenter(node, middleware.send_output, settings.images)
        for events in batches(middleware, until="image"):
            for event in events:
                segmenter.take(event)
            segmenter.step()
        segmenter.tell()


if __name__ == "__main__":
    try:
        main()
    except SamDeployError as error:
        sys.exit(str(error))
