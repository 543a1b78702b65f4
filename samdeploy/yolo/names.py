"""Names of checkpoints of the YOLO family, and how one becomes a model that runs here."""

from __future__ import annotations

import re
from pathlib import Path

_NAME = re.compile(r"(yolov?\d+[nsmlx](-seg)?|fastsam-[a-z]+)\.pt", re.IGNORECASE)


def is_yolo_name(model: str | Path) -> bool:
    """Whether a checkpoint is called as Ultralytics calls its detectors and segmenters."""
    return _NAME.fullmatch(Path(model).name) is not None


def why_no_yolo(model: str | Path) -> str:
    """The sentence for a model that is neither a bundle nor an ONNX file: what it is instead, and
    the commands that make one of it."""
    make = (
        "run pip install 'samdeploy[yolo]' (it brings the package ultralytics, which is under "
        f"AGPL-3.0), then samdeploy export model={model} trust=True, and give "
        f"{Path(model).stem}_onnx."
    )
    if Path(model).suffix == ".pt" and Path(model).is_file():
        return f"'{model}' is a checkpoint, and what runs is an export of it: {make}"
    if is_yolo_name(model):
        return f"'{model}' is not here, and is not downloaded: get it from Ultralytics, {make}"
    return (
        f"'{model}' is neither a bundle nor an .onnx file that Ultralytics exported; give one, or "
        "a checkpoint of Ultralytics to 'samdeploy export' first."
    )
