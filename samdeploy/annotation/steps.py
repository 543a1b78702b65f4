"""How an image is treated, which every worker is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from samdeploy.image_options import DEFAULT_OPTIONS, ImageOptions
from samdeploy.options import NoOptions


@dataclass(frozen=True)
class Steps:
    """The part of a :class:`~samdeploy.annotation.request.Request` that images are treated by; its
    fields are called as there. It travels to other processes, and opens nothing."""

    image_options: ImageOptions = DEFAULT_OPTIONS
    whole_image: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[int, ...] | None = None
    zoom: bool = False
    min_area: int = 0
    format: str = "yolo"
    format_options: Any = field(default_factory=NoOptions)
    previews: bool = False
