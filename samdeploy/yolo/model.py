"""One opened YOLO graph: an image in, boxes and masks out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from samdeploy.bundle import Bundle, is_bundle
from samdeploy.checked import CheckedSession
from samdeploy.contracts import spec_of
from samdeploy.detections import Detections
from samdeploy.errors import BundleError, InputError
from samdeploy.families import family_named
from samdeploy.masks.masks import Masks
from samdeploy.opening import open_graphs, own_runtime
from samdeploy.precision import FP32
from samdeploy.registry import ONNX_FILE, opener_of
from samdeploy.session import RuntimeOptions
from samdeploy.verified import notice_unless_verified, with_arithmetic
from samdeploy.yolo.decode import decode
from samdeploy.yolo.files import is_onnx
from samdeploy.yolo.graphs import SEGMENTER, YOLO_CONTRACT
from samdeploy.yolo.letterbox import Letterbox, Size
from samdeploy.yolo.metadata import YoloFacts, read_onnx_facts
from samdeploy.yolo.names import why_no_yolo
from samdeploy.yolo.prototypes import mask_rles
from samdeploy.yolo.settings import YoloSettings

#: What is opened here is of this class, or of one that derives from it.
_CLASS = "samdeploy:YOLO"

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class YoloModel:
    """A session, its arithmetic (``precision``) and what is known about its graph; ``bundle`` is
    ``None`` for a plain ONNX file."""

    session: CheckedSession
    facts: YoloFacts
    source: Path
    runtime: str
    device: str
    bundle: Bundle | None
    precision: str = FP32

    def detect(self, image: NDArray[np.uint8], settings: YoloSettings) -> Detections:
        """Boxes in ``image`` (RGB uint8 ``[H, W, 3]``), best first."""
        found, _, letterbox, _ = self._run(image, settings)
        boxes = letterbox.boxes_to_image(found.boxes)
        return Detections(boxes, found.scores, found.classes)

    def segment(self, image: NDArray[np.uint8], settings: YoloSettings) -> tuple[Masks, Detections]:
        """Masks in ``image`` (RGB uint8 ``[H, W, 3]``), best first, and the boxes that the network
        gave for them; empty masks are left out of both.

        Raises:
            InputError: the model finds boxes only.
        """
        if self.facts.role != SEGMENTER:
            raise InputError(
                f"'{self.source}' finds boxes and no masks; take a segmenter such as yolov8n-seg, "
                "or call detect."
            )
        found, coefficients, letterbox, prototypes = self._run(image, settings)
        boxes = letterbox.boxes_to_image(found.boxes)
        rles = mask_rles(prototypes, coefficients, boxes, letterbox)
        masks = Masks.from_rles(
            rles,
            letterbox.original_size,
            found.scores,
            classes=found.classes,
            names=self.facts.names,
            image=image,
        )
        keep = masks.areas > 0
        return masks[keep], Detections(boxes, found.scores, found.classes)[keep]

    def check_imgsz(self, imgsz: int | None) -> None:
        """Raise :class:`InputError` for an input side that the graph does not take; ``None`` is its
        own."""
        fixed = fixed_input_size(self.session)
        if fixed is not None and imgsz is not None and imgsz != max(fixed):
            raise InputError(
                f"imgsz={imgsz}; '{self.source}' was exported for {max(fixed)}, leave it out or "
                "export it for another size."
            )

    def close(self) -> None:
        self.session.close()

    def _run(
        self, image: NDArray[np.uint8], settings: YoloSettings
    ) -> tuple[Detections, Floats, Letterbox, Floats]:
        """Detections in input pixels, their mask coefficients, the letterbox and the prototypes."""
        spec = spec_of(self.session.inputs, "images")
        letterbox = self._letterbox((image.shape[0], image.shape[1]), settings.imgsz)
        pixels = letterbox.image_to_input(image).astype(spec.numpy_dtype, copy=False)
        answer = self.session.run({"images": pixels})
        output = np.asarray(answer["output0"][0], np.float32)
        classes = len(self.facts.names)
        prototypes = np.asarray(answer.get("output1", np.zeros((1, 0, 1, 1)))[0], np.float32)
        if output.ndim != 2 or len(output) != 4 + classes + len(prototypes):
            raise BundleError(
                f"'{self.source}' answers {list(answer['output0'].shape)}; expected [1, "
                f"{4 + classes + len(prototypes)}, places] for {classes} classes: export it again "
                "with nms=False."
            )
        found, coefficients = decode(output, classes, settings)
        return found, coefficients, letterbox, prototypes

    def _letterbox(self, image_size: Size, imgsz: int | None) -> Letterbox:
        fixed = fixed_input_size(self.session)
        if fixed is None:
            stride = self.facts.stride
            size = self.facts.imgsz if imgsz is None else (imgsz, imgsz)
            height, width = (-(-side // stride) * stride for side in size)
            return Letterbox.fit(image_size, (height, width), stride)
        self.check_imgsz(imgsz)
        return Letterbox.fit(image_size, fixed)


def fixed_input_size(session: CheckedSession) -> Size | None:
    """(height, width) of a graph's input, or ``None`` when it takes any.

    Raises:
        BundleError: it does not take one RGB image at a time.
    """
    shape = spec_of(session.inputs, "images").shape
    fits = len(shape) == 4 and shape[1] == 3 and (isinstance(shape[0], str) or shape[0] == 1)
    if not fits:
        raise BundleError(
            f"a YOLO graph with input {list(shape)}; expected [1, 3, height, width], export it "
            "with batch=1."
        )
    height, width = shape[2:]
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def open_yolo(
    model: str | Path,
    *,
    runtime: str | None = None,
    device: str = "auto",
    options: RuntimeOptions | None = None,
) -> YoloModel:
    """Open a bundle of the YOLO family, or an ONNX file that Ultralytics exported.

    Args:
        runtime: by default what the bundle was made for, or ONNX Runtime for a file.

    Raises:
        InputError, BundleError, RuntimeUnavailableError
    """
    options = options or RuntimeOptions()
    if options.config is not None:
        raise InputError("config= is for SAM checkpoints; a YOLO model holds its own facts.")
    path, bundle = Path(model), None
    if is_bundle(path):
        bundle = Bundle.open(path)
        manifest = bundle.manifest
        family_named(manifest.family, path).check_class(_CLASS, path, manifest.architecture)
        facts = YoloFacts.from_config(manifest.config, path)
        graphs, runtime = bundle.graphs(), runtime or own_runtime(bundle)
    elif is_onnx(path):
        facts = read_onnx_facts(path)
        graphs, runtime = {facts.role: path}, runtime or opener_of(ONNX_FILE)
    else:
        raise InputError(why_no_yolo(model))
    options = with_arithmetic(options, bundle)
    recorded = None if bundle is None else bundle.specs()
    sessions, used = open_graphs(graphs, runtime, device, options, recorded, YOLO_CONTRACT)
    precision = options.precision or FP32
    notice_unless_verified(precision, bundle)
    opened = YoloModel(sessions[facts.role], facts, path, runtime, used, bundle, precision)
    fixed_input_size(opened.session)
    return opened
