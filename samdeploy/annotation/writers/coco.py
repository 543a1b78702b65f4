"""COCO: one JSON file for all images of a split, put together from a part per image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import msgspec

from samdeploy.annotation.dataset import Dataset
from samdeploy.annotation.instances import AnnotatedImage, Instance
from samdeploy.annotation.journal import Record
from samdeploy.annotation.store import STATE
from samdeploy.polygons import mask_to_polygons


class _Part(msgspec.Struct, frozen=True):
    """One image: its entry and its annotations, all without ids."""

    image: dict[str, Any]
    annotations: list[dict[str, Any]]


class CocoWriter:
    """Run lengths, which are exact, or polygons. COCO's polygons have parts but no holes: holes are
    joined to the outline by cuts of no width, and rasterise to the same pixels."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def write(self, item: AnnotatedImage) -> list[str]:
        height, width = item.size
        part = _Part(
            {"file_name": item.path.name, "width": width, "height": height},
            [self._annotation(one) for one in item.instances],
        )
        place = f"{STATE}/coco/{item.path.name}.json"
        return [self._dataset.store.write(place, msgspec.json.encode(part))]

    def finish(self, records: Sequence[Record]) -> None:
        for split, own in self._dataset.parts(records).items():
            name = f"annotations/instances_{split}.json" if split else "annotations.json"
            categories = [
                {"id": self._dataset.category_id(index), "name": label, "supercategory": ""}
                for index, label in self._dataset.categories(records).items()
            ]
            with self._dataset.store.writing(name) as file:
                file.write(b'{"categories":' + msgspec.json.encode(categories))
                # Twice through the parts, so that no more than one is in memory.
                file.write(b',"images":[')
                _write_list(file, self._images(own))
                file.write(b'],"annotations":[')
                _write_list(file, self._annotations(own))
                file.write(b"]}\n")

    def _annotation(self, one: Instance) -> dict[str, Any]:
        x1, y1, x2, y2 = one.rle.box
        content: dict[str, Any] = {
            "category_id": self._dataset.category_id(one.class_id),
            "segmentation": self._segmentation(one),
            "area": one.rle.area,
            "bbox": [x1, y1, x2 - x1 + 1, y2 - y1 + 1],
            "iscrowd": 0,
            "predicted_iou": round(one.predicted_iou, 6),
        }
        if one.confidence is not None:
            content["confidence"] = round(one.confidence, 6)
        return content

    def _segmentation(self, one: Instance) -> dict[str, object] | list[list[float]]:
        if self._dataset.segmentation == "rle":
            return one.rle.to_coco()
        mask = one.rle.decode()
        parts = mask_to_polygons(mask, self._dataset.simplify) or mask_to_polygons(mask)
        return [[round(value, 2) for value in part.bridged().ravel().tolist()] for part in parts]

    def _parts(self, records: Sequence[Record]) -> Iterator[_Part]:
        for record in records:
            path = self._dataset.store.root / record.outputs[0]
            yield msgspec.json.decode(path.read_bytes(), type=_Part)

    def _images(self, records: Sequence[Record]) -> Iterator[dict[str, Any]]:
        for number, part in enumerate(self._parts(records), 1):
            yield {"id": number, **part.image}

    def _annotations(self, records: Sequence[Record]) -> Iterator[dict[str, Any]]:
        identity = 0
        for number, part in enumerate(self._parts(records), 1):
            for annotation in part.annotations:
                identity += 1
                yield {"id": identity, "image_id": number, **annotation}


def _write_list(file: BinaryIO, entries: Iterator[dict[str, Any]]) -> None:
    for index, entry in enumerate(entries):
        file.write((b",\n" if index else b"\n") + msgspec.json.encode(entry))
