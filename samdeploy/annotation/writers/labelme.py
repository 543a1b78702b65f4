"""LabelMe: a JSON file per image, for correcting labels by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from samdeploy.annotation.dataset import Dataset
from samdeploy.annotation.instances import AnnotatedImage
from samdeploy.annotation.journal import Record
from samdeploy.masks.polygons import mask_to_polygons
from samdeploy.options import NoOptions

#: Of the file format; LabelMe refuses files without one.
_VERSION = "5.0.1"


class LabelMeWriter:
    """A polygon per part; the parts of one object share a ``group_id``, and holes are joined to
    their outline by cuts of no width."""

    Options: ClassVar[type[NoOptions]] = NoOptions

    def __init__(self, dataset: Dataset, options: NoOptions) -> None:
        self._dataset = dataset

    def write(self, item: AnnotatedImage) -> list[str]:
        dataset = self._dataset
        shapes = []
        for number, one in enumerate(item.instances, 1):
            mask = one.rle.decode()
            parts = mask_to_polygons(mask, dataset.simplify) or mask_to_polygons(mask)
            for part in parts:
                shapes.append(
                    {
                        "label": dataset.names.get(one.class_id, f"class{one.class_id}"),
                        "points": part.bridged().round(2).tolist(),
                        "group_id": number,
                        "shape_type": "polygon",
                        "flags": {},
                    }
                )
        height, width = item.size
        place = dataset.place(item.path.name, ".json", "labels", flat=True)
        content: dict[str, Any] = {
            "version": _VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": dataset.image_from(item.path, place),
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        return [dataset.store.write(place, msgspec.json.encode(content))]

    def finish(self, records: Sequence[Record]) -> None:
        """Every file is complete on its own."""
