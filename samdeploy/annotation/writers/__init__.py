"""Label formats by name; one file each."""

from __future__ import annotations

import difflib

from samdeploy.annotation.writers.base import Writer
from samdeploy.annotation.writers.coco import CocoWriter
from samdeploy.annotation.writers.labelme import LabelMeWriter
from samdeploy.annotation.writers.png import PngWriter
from samdeploy.annotation.writers.yolo import YoloWriter
from samdeploy.errors import InputError

WRITERS: dict[str, type[Writer]] = {
    "yolo": YoloWriter,
    "coco": CocoWriter,
    "labelme": LabelMeWriter,
    "png": PngWriter,
}


def find_writer(name: str) -> type[Writer]:
    """The writer of a format.

    Raises:
        InputError: no such format.
    """
    if name not in WRITERS:
        close = difflib.get_close_matches(name, WRITERS, 1)
        hint = f"did you mean '{close[0]}'?" if close else f"expected {', '.join(WRITERS)}."
        raise InputError(f"format={name} is not a label format; {hint}")
    return WRITERS[name]
