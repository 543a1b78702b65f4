"""Our own :class:`~samdeploy.detections.Detector`: a YOLO model that is open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from samdeploy.closing import Closing
from samdeploy.detections import Detections
from samdeploy.session import RuntimeOptions
from samdeploy.yolo.model import YoloModel, fixed_input_size, open_yolo
from samdeploy.yolo.settings import YoloSettings


class YoloDetector(Closing):
    """A YOLO model, detector or segmenter, with fixed settings."""

    def __init__(self, model: YoloModel, settings: YoloSettings) -> None:
        self._model, self._settings = model, settings

    @property
    def names(self) -> Mapping[int, str]:
        return self._model.facts.names

    def __call__(self, image_rgb: NDArray[np.uint8]) -> Detections:
        return self._model.detect(image_rgb, self._settings)

    def close(self) -> None:
        """Free the session; calling it twice is harmless."""
        self._model.close()


def open_detector(
    model: str | Path,
    *,
    device: str = "auto",
    imgsz: int | None = None,
    conf: float = 0.25,
    iou: float = 0.45,
    max_det: int = 300,
    classes: Sequence[int] | None = None,
    runtime: str | None = None,
    threads: int | None = None,
    usual_imgsz: int | None = None,
) -> YoloDetector:
    """A detector from a bundle of the YOLO family or an ONNX file that Ultralytics exported.

    Args:
        imgsz: longer side of the input in pixels, for graphs that take any size; one of a fixed
            size refuses another at once.
        conf, iou, max_det, classes: see :class:`~samdeploy.yolo.settings.YoloSettings`.
        usual_imgsz: ``imgsz`` where that is left out, for graphs that take any size; by default
            what they were exported for.

    Raises:
        SamDeployError: any subclass.
    """
    settings = YoloSettings(conf=conf, iou=iou, max_det=max_det, classes=classes, imgsz=imgsz)
    options = RuntimeOptions(threads=threads)
    opened = open_yolo(model, runtime=runtime, device=device, options=options)
    opened.check_imgsz(imgsz)
    if imgsz is None and fixed_input_size(opened.session) is None:
        settings = replace(settings, imgsz=usual_imgsz)
    return YoloDetector(opened, settings)
