"""The one graph of a YOLO model, and of FastSAM. The names of the tensors are Ultralytics', so that
ONNX files that it exported fit as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from samdeploy.contracts import Contract, Specs
from samdeploy.errors import BundleError
from samdeploy.session import TensorSpec

#: Boxes, or boxes and masks.
DETECTOR, SEGMENTER = "detector", "segmenter"

# Any number of places, classes, coefficients and pixels.
_IMAGES = TensorSpec("images", (1, 3, 640, 640))
_PLACES = TensorSpec("output0", (1, 84, 8400))
_PROTOTYPES = TensorSpec("output1", (1, 32, 160, 160))


def check_size(found: Mapping[str, Specs], image_size: int, channels: int, source: object) -> None:
    """Compare the longer side of the input, where it is fixed, with ``image_size``; see
    :class:`~samdeploy.contracts.Contract`."""
    for (images,), _ in found.values():
        sides = [side for side in images.shape[2:] if isinstance(side, int)]
        if sides and max(sides) != image_size:
            raise BundleError(
                f"'{source}' is a model of {image_size} pixels and tells images of {sides}; export "
                "it again."
            )


YOLO_CONTRACT = Contract(
    graphs=((DETECTOR,), (SEGMENTER,)),
    tensors={
        DETECTOR: ((_IMAGES,), (_PLACES,)),
        SEGMENTER: ((_IMAGES,), (_PLACES, _PROTOTYPES)),
    },
    meanings={
        "images": "RGB in 0-1, scaled to fit, centred and surrounded with grey (114 / 255)",
        "output0": "per place: centre x, centre y, width, height in input pixels, class scores in "
        "0-1, mask coefficients",
        "output1": "mask prototypes; a mask is their sum weighted with its coefficients, above 0",
    },
    dtypes=("float32", "float16"),
    image="images",
    check=check_size,
)
#: A FastSAM is a segmenter.
FASTSAM_CONTRACT = replace(
    YOLO_CONTRACT,
    graphs=((SEGMENTER,),),
    tensors={SEGMENTER: YOLO_CONTRACT.tensors[SEGMENTER]},
)
