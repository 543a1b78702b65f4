"""Indexed-colour PNG: one picture of classes and one of objects per image, as in Pascal VOC."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samdeploy.annotation.dataset import Dataset
from samdeploy.annotation.instances import AnnotatedImage
from samdeploy.annotation.journal import Record
from samdeploy.errors import InputError
from samdeploy.options import NoOptions

_MOST = 255  # indices beside the background


class PngWriter:
    """``classes/``: class id plus 1; ``objects/``: number of the object in the image; 0 is the
    background in both. Smaller objects lie over larger ones. ``classes.txt`` names the classes."""

    Options: ClassVar[type[NoOptions]] = NoOptions

    def __init__(self, dataset: Dataset, options: NoOptions) -> None:
        self._dataset = dataset

    @staticmethod
    def outlines(options: NoOptions) -> bool:
        """None are written."""
        return False

    def write(self, item: AnnotatedImage) -> list[str]:
        instances = item.instances
        if len(instances) > _MOST or any(one.class_id >= _MOST for one in instances):
            raise InputError(
                f"'{item.path.name}' has {len(instances)} objects of classes up to "
                f"{max(one.class_id for one in instances)}; an indexed PNG holds {_MOST} of "
                "either, raise min_area or use format=coco."
            )
        classes = np.zeros(item.size, np.uint8)
        objects = np.zeros(item.size, np.uint8)
        for index in sorted(range(len(instances)), key=lambda i: -instances[i].rle.area):
            mask = instances[index].rle.decode()
            classes[mask] = instances[index].class_id + 1
            objects[mask] = index + 1
        store, name = self._dataset.store, item.path.name
        return [
            store.write(self._dataset.place(name, ".png", kind), _encode(picture))
            for kind, picture in (("classes", classes), ("objects", objects))
        ]

    def finish(self, records: Sequence[Record]) -> None:
        names = self._dataset.categories(records).values()
        self._dataset.store.write("classes.txt", "".join(f"{name}\n" for name in names).encode())


def _encode(indices: NDArray[np.uint8]) -> bytes:
    picture = Image.fromarray(indices, mode="L")
    picture.putpalette(_palette().tobytes())
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def _palette() -> NDArray[np.uint8]:
    """Pascal VOC's colours, ``[256, 3]``: the bits of an index are dealt to red, green and blue in
    turn, the lowest three to the highest bit of each, and so on."""
    index = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            value = (index >> (3 * bit + channel)) & 1
            colours[:, channel] |= (value << (7 - bit)).astype(np.uint8)
    return colours
