"""Label formats by name: ours, one file each, and those of other packages.

A package adds its own through the entry-point group ``samdeploy.writers``: the name of an entry is
the format's, its object a :class:`~samdeploy.annotation.writers.base.Writer`.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points

from samdeploy.annotation.writers.base import Writer
from samdeploy.annotation.writers.coco import CocoWriter
from samdeploy.annotation.writers.labelme import LabelMeWriter
from samdeploy.annotation.writers.png import PngWriter
from samdeploy.annotation.writers.yolo import YoloWriter
from samdeploy.errors import InputError
from samdeploy.libraries import optional_library
from samdeploy.text import suggestion

#: Ours.
BUILT_IN: dict[str, type[Writer]] = {
    "yolo": YoloWriter,
    "coco": CocoWriter,
    "labelme": LabelMeWriter,
    "png": PngWriter,
}


@lru_cache
def _added() -> dict[str, EntryPoint]:
    """Those of other packages, which take no name of ours."""
    points = sorted(entry_points(group="samdeploy.writers"))
    return {point.name: point for point in points if point.name not in BUILT_IN}


def writer_names() -> list[str]:
    """Label formats that can be asked for, if their library is installed."""
    return [*BUILT_IN, *_added()]


def find_writer(name: str) -> type[Writer]:
    """The writer of a format.

    Raises:
        InputError: no such format.
        RuntimeUnavailableError: its package does not work here.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    if name not in _added():
        hint = suggestion(name, writer_names())
        raise InputError(f"format={name} is not a label format; {hint}")
    point = _added()[name]
    package = point.module if point.dist is None else point.dist.name
    with optional_library(f"format '{name}'", f"pip install {package}"):
        loaded: type[Writer] = point.load()
    return loaded
