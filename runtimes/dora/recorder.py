"""Writes what a dataflow says to an MCAP file, ``RECORD``: the camera's ``image``, and ``labels``,
``objects`` and ``diagnostics`` of the segmenter, each where it is an input."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from mcap.writer import Writer

from samdeploy.errors import InputError, OutputError, SamDeployError
from samdeploy.images import load_image
from samdeploy.notices import NoticeLines, notice
from samdeploy.runtimes.dora.events import Event, batches, connect
from samdeploy.runtimes.dora.foxglove import (
    SCHEMAS,
    box_annotations,
    camera_image,
    label_image,
    schema_text,
)
from samdeploy.runtimes.dora.messages import pixels_of

#: A topic, the schema of its messages, and a message.
Record = tuple[str, str, dict[str, Any]]


class Recorder:
    """An MCAP file in the making; it is whole once it is closed."""

    def __init__(self, file: BinaryIO) -> None:
        self._writer = Writer(file)
        self._writer.start()
        self._schemas = {
            name: self._writer.register_schema(name, "jsonschema", schema_text(name))
            for name in SCHEMAS
        }
        self._channels: dict[str, int] = {}

    def write(self, record: Record, stamp: int) -> None:
        """Add a message, made at ``stamp`` in nanoseconds."""
        topic, schema, message = record
        if topic not in self._channels:
            schema_id = self._schemas[schema]
            self._channels[topic] = self._writer.register_channel(topic, "json", schema_id)
        self._writer.add_message(
            channel_id=self._channels[topic],
            log_time=time.time_ns(),
            publish_time=stamp,
            data=json.dumps(message).encode(),
        )

    def take(self, event: Event) -> None:
        """Write what an input says; one that cannot be read is left out, with a notice.

        Raises:
            InputError: an input that is none of ours.
        """
        records = records_of(event)
        try:
            for record, stamp in records:
                self.write(record, stamp)
        except InputError as error:
            notice("input '%s' was left out: %s", event["id"], error)

    def close(self) -> None:
        """Write the index at the end of the file."""
        self._writer.finish()


def _image(event: Event, stamp: int) -> Iterator[Record]:
    pixels = load_image(pixels_of(event["value"], event["metadata"]), "rgb")
    yield "/image", "foxglove.CompressedImage", camera_image(pixels, stamp)


def _labels(event: Event, stamp: int) -> Iterator[Record]:
    labels = np.asarray(pixels_of(event["value"], event["metadata"]), np.uint16)
    yield "/labels", "foxglove.RawImage", label_image(labels, stamp)


def _objects(event: Event, stamp: int) -> Iterator[Record]:
    [result] = event["value"].to_pylist()
    sent = {"frame": event["metadata"].get("frame"), "stamp": stamp}
    yield "/objects", "samdeploy.Objects", {**result, **sent}
    yield "/annotations", "foxglove.ImageAnnotations", box_annotations(result["found"], stamp)


def _diagnostics(event: Event, stamp: int) -> Iterator[Record]:
    [told] = event["value"].to_pylist()
    yield "/diagnostics", "samdeploy.Diagnostics", told


INPUTS: dict[str, Callable[[Event, int], Iterator[Record]]] = {
    "image": _image,
    "labels": _labels,
    "objects": _objects,
    "diagnostics": _diagnostics,
}


def records_of(event: Event) -> Iterator[tuple[Record, int]]:
    """What is written of an input, and its time in nanoseconds: that of the camera's frame where it
    is known. A frame that cannot be read raises as it is iterated.

    Raises:
        InputError: an input that is none of ours.
    """
    if event["id"] not in INPUTS:
        raise InputError(f"input '{event['id']}'; expected {', '.join(INPUTS)}.")
    stamp = int(event["metadata"].get("stamp") or time.time_ns())
    return ((record, stamp) for record in INPUTS[event["id"]](event, stamp))


def main() -> None:
    path = Path(os.environ.get("RECORD") or "recording.mcap")
    try:
        file = path.open("wb")
    except OSError as error:
        raise OutputError(f"'{path}' cannot be written ({error.strerror}).") from error
    # Closed whatever happens: a file without its index is hard to read.
    with file, closing(Recorder(file)) as recorder, NoticeLines(_say):
        for events in batches(connect()):
            for event in events:
                recorder.take(event)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except SamDeployError as error:
        sys.exit(str(error))
