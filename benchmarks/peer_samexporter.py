"""samexporter: its own ONNX export and ONNX Runtime session; no whole-image mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from samdeploy.benchmarks.jobs import Job
from samdeploy.benchmarks.measure import NoWholeImageModeError, Pixels, Points
from samdeploy.benchmarks.stand_in import install_stand_ins

_TYPES = {"sam_b": "vit_b", "sam_l": "vit_l", "sam_h": "vit_h", "mobile_sam": "mobile"}


@contextmanager
def with_threads(threads: int | None) -> Iterator[None]:
    """Sessions of ONNX Runtime that are opened meanwhile have so many: samexporter opens its
    sessions itself and has no argument for it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if threads:
        options.intra_op_num_threads = threads
    original = onnxruntime.InferenceSession
    onnxruntime.InferenceSession = partial(original, sess_options=options)
    try:
        yield
    finally:
        onnxruntime.InferenceSession = original


class SamexporterPeer:
    """Its decoder takes one prompt per call, so several are several calls."""

    title: ClassVar[str] = "samexporter"
    architectures: ClassVar[tuple[str, ...]] = tuple(_TYPES)

    @staticmethod
    def needs(architecture: str) -> tuple[str, ...]:
        """Distributions that have to be installed."""
        return "samexporter", "segment-anything", "torch", "onnxruntime"

    @staticmethod
    def prepare(job: Job, folder: Path) -> str:
        install_stand_ins()
        from samexporter import export_decoder, export_encoder

        target = folder / "samexporter"
        kind = _TYPES[job.architecture]
        export_encoder.run_export(
            kind, job.model, str(target / "encoder.onnx"), use_preprocess=True, opset=18
        )
        export_decoder.run_export(
            kind, job.model, str(target / "decoder.onnx"), opset=18, return_single_mask=False
        )
        return str(target)

    def __init__(self, job: Job) -> None:
        paths = [Path(job.model) / f"{role}.onnx" for role in ("encoder", "decoder")]
        with with_threads(job.threads):
            from samexporter.sam_onnx import SegmentAnythingONNX

            self._model: Any = SegmentAnythingONNX(
                *map(str, paths), providers=["CPUExecutionProvider"]
            )
        self.artifact_bytes = sum(path.stat().st_size for path in paths)
        self.provider = self._model.encoder_session.get_providers()[0]

    def encode(self, image: Pixels) -> None:
        self._embedding = self._model.encode(np.ascontiguousarray(image[..., ::-1]))

    def decode(self, points: Points) -> NDArray[np.float32]:
        return np.concatenate([self._low_res(point) for point in points])

    def _low_res(self, point: NDArray[np.float64]) -> NDArray[np.float32]:
        model, embedding = self._model, self._embedding
        size = embedding["original_size"]
        moved = model.apply_coords(np.array([[point, [0, 0]]]), size, model.target_size)
        feeds = {
            "image_embeddings": embedding["image_embedding"],
            "point_coords": moved.astype(np.float32),
            "point_labels": np.array([[1, -1]], np.float32),
            "mask_input": np.zeros((1, 1, 256, 256), np.float32),
            "has_mask_input": np.zeros(1, np.float32),
            "orig_im_size": np.array(size, np.float32),
        }
        masks, _ = model.decoder_session.run(["low_res_masks", "iou_predictions"], feeds)
        found: NDArray[np.float32] = masks[:, 1:]
        return found

    def click(self, point: Points) -> NDArray[np.bool_]:
        mark = {"type": "point", "data": point[0].tolist(), "label": 1}
        masks = self._model.predict_masks(self._embedding, [mark])
        return np.asarray(masks[0, 0] > 0)

    def generate(self, image: Pixels, settings: dict[str, Any]) -> int:
        raise NoWholeImageModeError
