"""COCO: one JSON file for all images of a split, put together from a part per image."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar

import msgspec

from samdeploy.annotation.dataset import Dataset
from samdeploy.annotation.instances import AnnotatedImage, Instance
from samdeploy.annotation.journal import Record
from samdeploy.annotation.store import STATE
from samdeploy.errors import InputError
from samdeploy.masks.polygons import mask_to_polygons
from samdeploy.options import option
from samdeploy.text import shown


class _Part(msgspec.Struct, frozen=True):
    """One image: its size and its annotations, all without ids."""

    image: dict[str, Any]
    annotations: list[dict[str, Any]]


@dataclass(frozen=True)
class CocoOptions:
    """How masks are written: ``rle`` is exact."""

    segmentation: str = option("rle", "coco: rle or polygon")

    def __post_init__(self) -> None:
        if self.segmentation not in ("rle", "polygon"):
            raise InputError(f"segmentation={shown(self.segmentation)}; expected rle or polygon.")


class CocoWriter:
    """Run lengths, which are exact, or polygons. COCO's polygons have parts but no holes: holes are
    joined to the outline by cuts of no width, and rasterise to the same pixels."""

    Options: ClassVar[type[CocoOptions]] = CocoOptions

    def __init__(self, dataset: Dataset, options: CocoOptions) -> None:
        self._dataset, self._options = dataset, options

    @staticmethod
    def outlines(options: CocoOptions) -> bool:
        """Whether they are written, and not pixels."""
        return options.segmentation == "polygon"

    def write(self, item: AnnotatedImage) -> list[str]:
        height, width = item.size
        part = _Part(
            {"width": width, "height": height},
            [self._annotation(one) for one in item.instances],
        )
        place = f"{STATE}/coco/{item.path.name}.json"
        return [self._dataset.store.write(place, msgspec.json.encode(part))]

    def finish(self, records: Sequence[Record]) -> None:
        dataset = self._dataset
        numbers = dataset.numbered(records)
        annotations = itertools.count(1)
        for split, own in dataset.parts(records).items():
            categories = [
                {"id": dataset.category_id(index), "name": label, "supercategory": ""}
                for index, label in dataset.categories(records).items()
            ]
            with dataset.store.writing(_file_of(split)) as file:
                file.write(b'{"categories":' + msgspec.json.encode(categories))
                # Twice through the parts, so that no more than one is in memory.
                file.write(b',"images":[')
                _write_list(
                    file,
                    (
                        {"id": numbers[name], "file_name": dataset.file_name(name), **part.image}
                        for name, part in self._parts(own)
                    ),
                )
                file.write(b'],"annotations":[')
                _write_list(
                    file,
                    (
                        {"id": next(annotations), "image_id": numbers[name], **annotation}
                        for name, part in self._parts(own)
                        for annotation in part.annotations
                    ),
                )
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
        if self._options.segmentation == "rle":
            return one.rle.to_coco()
        mask = one.rle.decode()
        parts = mask_to_polygons(mask, self._dataset.simplify) or mask_to_polygons(mask)
        return [[round(value, 2) for value in part.bridged().ravel().tolist()] for part in parts]

    def _parts(self, records: Sequence[Record]) -> Iterator[tuple[str, _Part]]:
        """The name of each image, and its part."""
        for record in records:
            path = self._dataset.store.root / record.outputs[0]
            try:
                yield record.image, msgspec.json.decode(path.read_bytes(), type=_Part)
            except (OSError, ValueError, msgspec.MsgspecError, RecursionError) as error:
                raise InputError(
                    f"'{path}' cannot be read, which holds what was found in '{record.image}'; "
                    "delete it, and the next run makes it again."
                ) from error


def _file_of(split: str) -> str:
    return f"annotations/instances_{split}.json" if split else "annotations.json"


def _write_list(file: BinaryIO, entries: Iterable[dict[str, Any]]) -> None:
    for index, entry in enumerate(entries):
        file.write((b",\n" if index else b"\n") + msgspec.json.encode(entry))
