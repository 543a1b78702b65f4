"""Ultralytics' SAM predictor, on torch."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from samdeploy.benchmarks.jobs import Job
from samdeploy.benchmarks.measure import Pixels, Points
from samdeploy.benchmarks.peer_hooks import substitute
from samdeploy.benchmarks.stand_in import install_stand_ins


class UltralyticsPeer:
    """The predictor behind ``yolo predict model=sam_b.pt``."""

    title: ClassVar[str] = "Ultralytics SAM"
    architectures: ClassVar[tuple[str, ...]] = ("sam_b", "sam_l", "mobile_sam")

    @staticmethod
    def needs(architecture: str) -> tuple[str, ...]:
        """Distributions that have to be installed."""
        return "ultralytics", "torch", "torchvision"

    @staticmethod
    def prepare(job: Job, folder: Path) -> str:
        # It knows the architecture by the name of the file.
        named = folder / f"{job.architecture}.pt"
        if named != Path(job.model):
            shutil.copyfile(job.model, named)
        return str(named)

    def __init__(self, job: Job) -> None:
        install_stand_ins()
        # It looks for updates and keeps settings at home otherwise.
        os.environ |= {"YOLO_OFFLINE": "true", "YOLO_VERBOSE": "false", "YOLO_AUTOINSTALL": "false"}
        os.environ.setdefault("YOLO_CONFIG_DIR", str(Path(job.model).parent))
        import torch
        from ultralytics.models.sam import Predictor

        chosen = {"model": job.model, "imgsz": 1024, "mode": "predict", "task": "segment"}
        quiet = {"save": False, "verbose": False, "device": "cpu"}
        self._predictor: Any = Predictor(overrides={**chosen, **quiet})
        self._predictor.setup_model(verbose=False)
        # Of a prompt it drops masks with a low predicted IoU, which random weights give.
        self._predictor.args.conf = float("-inf")
        if job.threads:  # its own choice is one less than there are processors
            torch.set_num_threads(job.threads)
        model = self._predictor.model
        self._substitution = substitute(job, model.prompt_encoder, model.mask_decoder)
        self._torch = torch
        self.provider = f"torch {torch.__version__}"
        self.artifact_bytes = Path(job.model).stat().st_size

    def encode(self, image: Pixels) -> None:
        self._shape = image.shape[:2]
        self._predictor.set_image(np.ascontiguousarray(image[..., ::-1]))

    def decode(self, points: Points) -> NDArray[np.float32]:
        predictor = self._predictor
        with self._torch.inference_mode():
            prompts = predictor._prepare_prompts(predictor.imgsz, self._shape, points=points)
            masks, _ = predictor._inference_features(
                predictor.features, *prompts, multimask_output=True
            )
        found: NDArray[np.float32] = masks.numpy()
        return found.reshape(len(points), -1, *found.shape[1:])

    def click(self, point: Points) -> NDArray[np.bool_]:
        results = self._predictor(points=point.tolist(), labels=[1])
        mask: NDArray[np.bool_] = results[0].masks.data[0].numpy()
        return mask

    def generate(self, image: Pixels, settings: dict[str, Any]) -> int:
        self._predictor.reset_image()
        if self._substitution:
            self._substitution.enabled = True
        try:
            results = self._predictor(
                source=np.ascontiguousarray(image[..., ::-1]), points_batch_size=64, **settings
            )
        finally:
            if self._substitution:
                self._substitution.enabled = False
        return len(results[0])
