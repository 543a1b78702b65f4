"""Boxes from a COCO file: images, annotations and categories, or a list of results.

Tools differ in what they write. What can mean one thing only is taken; an annotation that cannot be
used is named by the images it is of, and the others go on.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from samdeploy.annotation.digests import digest_of
from samdeploy.annotation.matching import count_of, describe, examples, match
from samdeploy.detections import MOST_CLASSES, Detections
from samdeploy.errors import InputError
from samdeploy.masks.rle import Rle
from samdeploy.text import reason, shown
from samdeploy.text_files import read_text

#: COCO has whole numbers; Ultralytics' results have file names without their endings.
_Id: TypeAlias = int | float | str


class _Image(msgspec.Struct):
    id: _Id
    file_name: str
    width: float | None = None
    height: float | None = None


class _Annotation(msgspec.Struct):
    """Fields that may be odd are looked at one by one."""

    image_id: _Id
    category_id: _Id
    id: Any = None
    bbox: Any = None
    segmentation: msgspec.Raw = msgspec.Raw(b"null")
    iscrowd: Any = None
    score: Any = None
    file_name: str | None = None


class _Category(msgspec.Struct):
    id: _Id
    name: Any = None


class _File(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category] = []


@dataclass
class _Known:
    """One image as the file has it.

    Attributes:
        name: as it is in the file.
        size: (width, height) in pixels, where the file has them.
        rows: x, y, width, height, score and class of each box.
        error: why it cannot be used; empty otherwise.
    """

    name: str
    size: tuple[float, float] | None
    rows: list[tuple[float, float, float, float, float, int]]
    error: str = ""


class CocoBoxes:
    """The boxes of a COCO file. Categories become classes 0, 1, 2... in the order of their ids; in
    a list of results, or a file without categories, their ids are the classes. Crowds are left
    out."""

    facts: Mapping[str, object] = {}

    def __init__(self, path: Path, images: Sequence[Path], unmatched: float) -> None:
        origin = f"boxes={path}"
        content = _read(path, images)
        known = [_Known(image.file_name, _size_of(image), []) for image in content.images]
        ids = [image.id for image in content.images]
        _refuse_twice(ids, origin, "image id")
        _refuse_twice([image.file_name for image in content.images], origin, "file_name")
        classes = self._set_categories(content, origin)
        by_id = dict(zip(ids, known, strict=True))
        crowds, strays = 0, []
        for index, annotation in enumerate(content.annotations):
            image = by_id.get(annotation.image_id)
            if image is None:
                strays.append(str(annotation.image_id))
            else:
                try:
                    if _is_crowd(annotation):
                        crowds += 1
                    else:
                        image.rows.append(_row(annotation, classes))
                except InputError as error:
                    name = f"annotation {index}" + (
                        "" if annotation.id is None else f" (id {shown(annotation.id)})"
                    )
                    image.error = image.error or f"{name} of {origin} {error}"
        matches = match(images, [each.name for each in known], origin, stems=False)
        by_name = {each.name: each for each in known}
        self._images = {name: by_name[given] for name, given in matches.of.items()}
        said = describe(matches, len(images), origin, ("image", "images"), unmatched)
        if strays:
            said.append(
                f"{origin} has {count_of(len(strays), 'annotation', 'annotations')} of images that "
                f"it does not list (image_id {examples(sorted(set(strays)))})."
            )
        if crowds:
            said.append(f"{origin}: {count_of(crowds, 'crowd is', 'crowds are')} left out.")
        self.notices: Sequence[str] = said
        own = {each.name: number for each, number in zip(known, ids, strict=True)}
        self.image_ids: Mapping[str, int] = (
            {name: int(own[given]) for name, given in matches.of.items()}
            if all(isinstance(number, int) for number in ids)
            else {}
        )

    def digest(self, path: Path) -> str:
        known = self._images.get(path.name)
        if known is None:
            return ""
        return digest_of([msgspec.json.encode([known.size, known.rows, known.error])])

    def find(self, path: Path, image: NDArray[np.uint8]) -> Detections:
        known = self._images.get(path.name)
        rows = [] if known is None else known.rows
        if known is not None and known.error:
            raise InputError(known.error)
        height, width = image.shape[:2]
        if known is not None and known.size not in (None, (width, height)):
            given = " x ".join(f"{side:g}" for side in known.size or ())
            raise InputError(
                f"'{path.name}' is {width} x {height}, but its boxes are for {given}; make both "
                "the same size."
            )
        values = np.array(rows, np.float64).reshape(-1, 6)
        corners = np.concatenate([values[:, :2], values[:, :2] + values[:, 2:4]], axis=1)
        return Detections(
            corners.astype(np.float32),
            values[:, 4].astype(np.float32),
            values[:, 5].astype(np.int64),
        )

    def _set_categories(self, content: _File, origin: str) -> dict[_Id, int]:
        """Category ids to classes."""
        ids = [category.id for category in content.categories]
        _refuse_twice(ids, origin, "category id")
        try:
            ordered = sorted(content.categories, key=_id_of)
        except TypeError as error:
            raise InputError(
                f"{origin} has category ids {shown(ids)}; expected numbers."
            ) from error
        classes = {category.id: index for index, category in enumerate(ordered)}
        self.names: Mapping[int, str] = {
            classes[each.id]: str(each.name) for each in ordered if each.name not in (None, "")
        }
        if not ordered:
            used = {each.category_id for each in content.annotations}
            classes = {
                each: int(each)
                for each in used
                if isinstance(each, (int, float)) and 0 <= each < MOST_CLASSES and each == int(each)
            }
        numbers = {index: given for given, index in classes.items()}
        self.category_ids: Mapping[int, int] = (
            {index: int(given) for index, given in numbers.items()}
            if all(isinstance(given, int) for given in numbers.values())
            else {}
        )
        return classes


def _read(path: Path, images: Sequence[Path]) -> _File:
    try:
        text = read_text(path)
        try:
            content = _decode(text, images)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            # Python's own reader takes NaN and Infinity, which become null here, and are named.
            content = _decode(msgspec.json.encode(json.loads(text)), images)
    except (OSError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise InputError(
            f"boxes={path} cannot be read as COCO ({reason(error)}); expected images, annotations "
            "with bbox, and categories, or a list of results."
        ) from error
    return content


def _decode(text: str | bytes, images: Sequence[Path]) -> _File:
    if text.lstrip()[:1] in ("[", b"["):
        return _from_results(msgspec.json.decode(text, type=list[_Annotation]), images)
    return msgspec.json.decode(text, type=_File)


def _from_results(results: list[_Annotation], images: Sequence[Path]) -> _File:
    """A list of results has no images. Their ids are file names without the ending, and numbers
    where those are digits alone, as Ultralytics writes them."""
    called: dict[_Id, list[str]] = defaultdict(list)
    for image in images:
        called[int(image.stem) if image.stem.isdecimal() else image.stem].append(image.name)
    names: dict[_Id, str] = {}
    for each in results:
        own = called.get(each.image_id, [])
        names[each.image_id] = each.file_name or (own[0] if len(own) == 1 else str(each.image_id))
    return _File([_Image(number, name) for number, name in names.items()], results)


def _id_of(category: _Category) -> Any:
    return category.id


def _size_of(image: _Image) -> tuple[float, float] | None:
    return (image.width, image.height) if image.width and image.height else None


def _is_crowd(annotation: _Annotation) -> bool:
    if not isinstance(annotation.iscrowd, (int, float, type(None))):
        raise InputError(f"has iscrowd {shown(annotation.iscrowd)}; expected 0 or 1.")
    return bool(annotation.iscrowd)


def _row(
    annotation: _Annotation, classes: Mapping[_Id, int]
) -> tuple[float, float, float, float, float, int]:
    """x, y, width, height, score and class.

    Raises:
        InputError: what is wrong, to be read after the annotation's name.
    """
    if annotation.category_id not in classes:
        raise InputError(
            f"is of category {shown(annotation.category_id)}; expected one of "
            f"{shown(sorted(classes, key=str))}."
        )
    score = 1.0 if annotation.score is None else annotation.score
    if not _finite(score):
        raise InputError(f"has score {shown(annotation.score)}; expected a number.")
    box = annotation.bbox
    if box is None:
        box = _box_of(annotation.segmentation)
    if not isinstance(box, list) or len(box) != 4 or not all(map(_finite, box)):
        raise InputError(f"has bbox {shown(annotation.bbox)}; expected x, y, width and height.")
    x, y, width, height = map(float, box)
    return x, y, width, height, float(score), classes[annotation.category_id]


def _box_of(raw: msgspec.Raw) -> list[float]:
    """x, y, width and height of a segmentation: polygons, or run lengths.

    Raises:
        InputError: there is none.
    """
    segmentation = msgspec.json.decode(raw)
    try:
        if isinstance(segmentation, dict):
            rle = Rle.from_coco(segmentation)
            x1, y1, x2, y2 = rle.box
            return [x1, y1, x2 + 1 - x1, y2 + 1 - y1]
        points = np.concatenate([np.array(part, float).reshape(-1, 2) for part in segmentation])
        low, high = points.min(axis=0), points.max(axis=0)
        return [*low.tolist(), *(high - low).tolist()]
    except (TypeError, ValueError, KeyError, OverflowError, InputError) as error:
        raise InputError(
            "has no bbox, and no segmentation that one could be taken from; expected either."
        ) from error


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _refuse_twice(values: Iterable[_Id], origin: str, what: str) -> None:
    twice = next((value for value, count in Counter(values).items() if count > 1), None)
    if twice is not None:
        raise InputError(f"{origin} has {what} {shown(twice)} twice; expected different ones.")
