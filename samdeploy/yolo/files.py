"""Files of other programs that hold a YOLO model, told apart without torch."""

from __future__ import annotations

from pathlib import Path

from samdeploy.checkpoint_names import mentions
from samdeploy.yolo.metadata import read_onnx_facts


def is_ultralytics(path: Path) -> bool:
    """Whether a file is a checkpoint that names Ultralytics' classes. The pickle in it is searched
    for that name; it is not loaded."""
    return mentions(path, b"ultralytics")


def is_onnx(path: Path) -> bool:
    """Whether it is an ONNX file; outside a bundle there are none but Ultralytics'."""
    return path.suffix == ".onnx" and path.is_file()


def is_yolo_onnx(path: Path) -> bool:
    """Whether it is an ONNX file of a YOLO model.

    Raises:
        BundleError: an ONNX file that Ultralytics did not export.
    """
    return is_onnx(path) and not read_onnx_facts(path).class_agnostic


def is_fastsam_onnx(path: Path) -> bool:
    """Whether it is one of a model that was trained as FastSAM is; raises like
    :func:`is_yolo_onnx`."""
    return is_onnx(path) and read_onnx_facts(path).class_agnostic
