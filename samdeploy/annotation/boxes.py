"""Where the boxes of an image come from: a detector, labels that exist already, or nowhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from samdeploy.annotation.classes import as_names
from samdeploy.annotation.coco_file import CocoBoxes
from samdeploy.annotation.yolo_folder import YoloLabels
from samdeploy.detections import Detections, Detector, as_detections
from samdeploy.errors import InputError


class BoxSource(Protocol):
    """Boxes by image.

    Attributes:
        names: of the classes, as far as they are known.
        category_ids: COCO category ids of the classes, where the source has its own.
        image_ids: COCO image ids by file name, likewise.
        facts: what else its boxes depend on, as plain JSON values.
        notices: sentences on what does not fit the images.
    """

    names: Mapping[int, str]
    category_ids: Mapping[int, int]
    image_ids: Mapping[str, int]
    facts: Mapping[str, object]
    notices: Sequence[str]

    def digest(self, path: Path) -> str:
        """Digest of what is known of the image at ``path``: another text if and only if that
        changed.

        Raises:
            InputError: it cannot be read.
        """
        ...

    def find(self, path: Path, image: NDArray[np.uint8]) -> Detections | None:
        """Boxes for the image at ``path`` (RGB ``[H, W, 3]``), or ``None`` when the whole image is
        to be segmented.

        Raises:
            InputError: what is known of this image cannot be used.
        """
        ...


class _Unknown:
    """Nothing is known of an image before it is seen."""

    category_ids: Mapping[int, int] = {}
    image_ids: Mapping[str, int] = {}
    facts: Mapping[str, object] = {}
    notices: Sequence[str] = ()

    def digest(self, path: Path) -> str:
        return ""


class WholeImage(_Unknown):
    """No boxes: everything in the image, all of one class."""

    names: Mapping[int, str] = {0: "object"}

    def find(self, path: Path, image: NDArray[np.uint8]) -> None:
        return None


class DetectorBoxes(_Unknown):
    """Boxes that a detector finds."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.names: Mapping[int, str] = as_names(detector.names, "the detector's names")

    def find(self, path: Path, image: NDArray[np.uint8]) -> Detections:
        return as_detections(self._detector(image))


def open_labels(path: Path, images: Sequence[Path], unmatched: float = 1.0) -> BoxSource:
    """Boxes that exist already: a folder of YOLO labels, or a COCO file.

    ``unmatched`` is the largest share of ``images`` that it may say nothing about.

    Raises:
        InputError: it is neither, says nothing about too many images, or cannot be matched with
            them.
    """
    if path.is_dir():
        return YoloLabels(path, images, unmatched)
    if path.is_file():
        return CocoBoxes(path, images, unmatched)
    raise InputError(f"boxes={path} does not exist; expected a folder of YOLO labels or COCO JSON.")
