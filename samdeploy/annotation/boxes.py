"""Where the boxes of an image come from: a detector, labels that exist already, or nowhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from samdeploy.detections import Detections
from samdeploy.errors import InputError
from samdeploy.yolo_labels import read_yolo_boxes


class Detector(Protocol):
    """Any object that finds boxes, such as those of :func:`samdeploy.detector.open_detector`."""

    @property
    def names(self) -> Mapping[int, str]: ...

    def __call__(self, image_rgb: NDArray[np.uint8]) -> Detections: ...


class BoxSource(Protocol):
    """Boxes by image.

    Attributes:
        names: of the classes, as far as they are known.
        category_ids: COCO category ids of the classes, where the source has its own.
    """

    names: Mapping[int, str]
    category_ids: Mapping[int, int]

    def find(self, name: str, image: NDArray[np.uint8]) -> Detections | None:
        """Boxes for the image file called ``name`` (RGB ``[H, W, 3]``), or ``None`` when the whole
        image is to be segmented.

        Raises:
            InputError: what is known of this image cannot be used.
        """
        ...


class WholeImage:
    """No boxes: everything in the image, all of one class."""

    names: Mapping[int, str] = {0: "object"}
    category_ids: Mapping[int, int] = {}

    def find(self, name: str, image: NDArray[np.uint8]) -> None:
        return None


class DetectorBoxes:
    """What a detector finds."""

    category_ids: Mapping[int, int] = {}

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.names = detector.names

    def find(self, name: str, image: NDArray[np.uint8]) -> Detections:
        return self._detector(image)


class YoloLabels:
    """A folder of YOLO label files, one per image and called like it; an image without a file has
    no object."""

    names: Mapping[int, str] = {}
    category_ids: Mapping[int, int] = {}

    def __init__(self, folder: Path, images: Iterable[str]) -> None:
        self._folder = folder.absolute()
        if not any(self._label(image).is_file() for image in images):
            raise InputError(
                f"boxes={folder} has no label of any image; expected files called like the images "
                "and ending in .txt."
            )

    def find(self, name: str, image: NDArray[np.uint8]) -> Detections:
        label = self._label(name)
        if not label.is_file():
            return read_yolo_boxes("", _size(image), label.name)
        try:
            text = label.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"label '{label}' cannot be read; expected a text file.") from error
        return read_yolo_boxes(text, _size(image), label.name)

    def _label(self, image: str) -> Path:
        return self._folder / f"{Path(image).stem}.txt"


class _CocoImage(msgspec.Struct):
    id: int
    file_name: str
    width: int
    height: int


class _CocoAnnotation(msgspec.Struct):
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    iscrowd: int = 0
    score: float = 1.0


class _CocoCategory(msgspec.Struct):
    id: int
    name: str


class _CocoFile(msgspec.Struct):
    images: list[_CocoImage]
    annotations: list[_CocoAnnotation]
    categories: list[_CocoCategory]


class CocoBoxes:
    """The boxes of a COCO file. Images are known by the last part of ``file_name``; categories
    become classes 0, 1, 2... in the order of their ids; crowds are left out."""

    def __init__(self, path: Path, images: Iterable[str]) -> None:
        try:
            content = msgspec.json.decode(path.read_bytes(), type=_CocoFile)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise InputError(
                f"boxes={path} cannot be read as COCO ({error}); expected images, annotations with "
                "bbox, and categories."
            ) from error
        ordered = sorted(content.categories, key=lambda category: category.id)
        self.names: Mapping[int, str] = {i: category.name for i, category in enumerate(ordered)}
        self.category_ids: Mapping[int, int] = {i: each.id for i, each in enumerate(ordered)}
        self._classes = {category.id: index for index, category in enumerate(ordered)}
        self._images: dict[str, _CocoImage] = {}
        for image in content.images:
            name = Path(image.file_name).name
            if name in self._images:
                raise InputError(f"boxes={path} has two images '{name}'; expected different names.")
            self._images[name] = image
        self._annotations: dict[int, list[_CocoAnnotation]] = {}
        for annotation in content.annotations:
            if annotation.category_id not in self._classes:
                raise InputError(
                    f"boxes={path} has an annotation of category {annotation.category_id}; "
                    f"expected one of the file's categories {list(self._classes)}."
                )
            if not annotation.iscrowd:
                self._annotations.setdefault(annotation.image_id, []).append(annotation)
        if not any(image in self._images for image in images):
            raise InputError(
                f"boxes={path} names none of the images; expected their file names in file_name."
            )

    def find(self, name: str, image: NDArray[np.uint8]) -> Detections:
        known = self._images.get(name)
        found = [] if known is None else self._annotations.get(known.id, [])
        if known is not None and (known.height, known.width) != _size(image):
            height, width = _size(image)
            raise InputError(
                f"'{name}' is {width} x {height}, but its boxes are for {known.width} x "
                f"{known.height}; make both the same size."
            )
        corners = np.array([a.bbox for a in found], np.float64).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        return Detections(
            corners.astype(np.float32),
            np.array([a.score for a in found], np.float32),
            np.array([self._classes[a.category_id] for a in found], np.int64),
        )


def open_labels(path: Path, images: Iterable[str]) -> BoxSource:
    """Boxes that exist already: a folder of YOLO labels, or a COCO file.

    Raises:
        InputError: it is neither, or says nothing about any of ``images``.
    """
    if path.is_dir():
        return YoloLabels(path, images)
    if path.is_file():
        return CocoBoxes(path, images)
    raise InputError(f"boxes={path} does not exist; expected a folder of YOLO labels or COCO JSON.")


def select(found: Detections, size: tuple[int, int], classes: frozenset[int] | None) -> Detections:
    """Boxes of the wanted classes (``None``: all), clipped to an image of ``size`` (height, width);
    those without area are dropped, with their class."""
    height, width = size
    boxes = found.boxes.astype(np.float32)
    boxes = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
    keep = np.asarray(((boxes[:, 2:] - boxes[:, :2]) > 0).all(axis=1), bool)
    if classes is not None:
        keep &= np.isin(found.classes, np.array(sorted(classes), np.int64))
    return Detections(boxes, found.scores, found.classes)[keep]


def _size(image: NDArray[Any]) -> tuple[int, int]:
    return int(image.shape[0]), int(image.shape[1])
