"""Layouts of ONNX files, one file a tool.

A package adds its own through the entry-point group ``samdeploy.layouts``: the name of an entry is
the layout's, its object a :class:`samdeploy.layouts.Layout`.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points

from samdeploy.errors import InputError
from samdeploy.exporters.layouts import anylabeling, isaac, meta, osam, transformersjs, xanylabeling
from samdeploy.layouts import Layout
from samdeploy.libraries import optional_library
from samdeploy.text import suggestion

GROUP = "samdeploy.layouts"
#: Ours.
_OURS = (anylabeling, isaac, meta, osam, transformersjs, xanylabeling)
BUILT_IN: dict[str, Layout] = {each.LAYOUT.name: each.LAYOUT for each in _OURS}


@lru_cache
def _added() -> dict[str, EntryPoint]:
    """Those of other packages, which take no name of ours."""
    points = sorted(entry_points(group=GROUP))
    return {point.name: point for point in points if point.name not in BUILT_IN}


def layout_names() -> list[str]:
    """Layouts that can be asked for, if their library is installed."""
    return [*BUILT_IN, *_added()]


def find_layout(name: str) -> Layout:
    """The layout of that name.

    Raises:
        InputError: there is none.
        RuntimeUnavailableError: its package does not work here.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    if name not in _added():
        raise InputError(f"layout={name} is not one of ours; {suggestion(name, layout_names())}")
    point = _added()[name]
    package = point.module if point.dist is None else point.dist.name
    with optional_library(f"layout '{name}'", f"pip install {package}"):
        loaded: Layout = point.load()
    return loaded
