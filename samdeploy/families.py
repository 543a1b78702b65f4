"""Models of any family by what their bundle says, for callers that do not know what they are given.

A model is opened by the class of its family; a checkpoint, which says nothing, is one of SAM.
"""

from __future__ import annotations

from pathlib import Path

from samdeploy.bundle import is_bundle, read_manifest
from samdeploy.errors import BundleError
from samdeploy.sam import SAM
from samdeploy.yolo.facade import YOLO, FastSAM
from samdeploy.yolo.metadata import read_onnx_facts

#: The class that opens a model of each family of :data:`samdeploy.graphs.FAMILIES`.
CLASSES: dict[str, type[SAM | YOLO]] = {"sam": SAM, "yolo": YOLO, "fastsam": FastSAM}


def class_of(model: str | Path) -> type[SAM | YOLO]:
    """The class that opens ``model``, a bundle folder, an ONNX file or anything else.

    Raises:
        BundleError: a bundle or an ONNX file that cannot be read, or a family that is not known.
    """
    path = Path(model)
    family = "sam"
    if is_bundle(path):
        family = read_manifest(path).family
    elif path.suffix == ".onnx" and path.is_file():
        family = "fastsam" if read_onnx_facts(path).class_agnostic else "yolo"
    if family not in CLASSES:
        raise BundleError(
            f"'{model}' holds a model of family '{family}', this samdeploy knows "
            f"{', '.join(CLASSES)}; upgrade samdeploy."
        )
    return CLASSES[family]
