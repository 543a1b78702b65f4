"""The results of several images."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TypeVar

from samdeploy.image_options import ImageOptions
from samdeploy.images import load_image
from samdeploy.masks.masks import Masks

T = TypeVar("T")


def results_of(
    segment: Callable[[T], Masks], images: Iterable[T], stream: bool, options: ImageOptions
) -> list[Masks] | Iterator[Masks]:
    """``segment`` of each image, one by one with ``stream``. In a list, the picture of a file is
    not kept but read again when it is asked for."""
    if stream:
        return map(segment, images)
    results = []
    for image in images:
        found = segment(image)
        if isinstance(image, (str, os.PathLike)):
            found.image = partial(load_image, image, options=options)
        results.append(found)
    return results
