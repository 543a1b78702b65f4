"""Meta's ``sam2`` on torch: its image predictor and its automatic mask generator."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from samdeploy.benchmarks.jobs import Job
from samdeploy.benchmarks.measure import Pixels, Points
from samdeploy.benchmarks.peer_hooks import all_masks, as_prompts, substitute
from samdeploy.benchmarks.stand_in import install_stand_ins

_SIZES = {"tiny": "t", "small": "s", "base_plus": "b+", "large": "l"}
#: The official configuration by architecture.
CONFIGS = {
    f"{series}_hiera_{size}": f"configs/{series}/{series}_hiera_{letter}.yaml"
    for series in ("sam2.1", "sam2")
    for size, letter in _SIZES.items()
}


def build(job: Job) -> Any:
    """The official model with the weights of ``job.model``; what is not in them, the part for
    video, stays as it was made."""
    install_stand_ins()
    import torch
    from sam2.build_sam import build_sam2

    model = build_sam2(CONFIGS[job.architecture], None, device="cpu")
    state = torch.load(job.model, map_location="cpu", weights_only=True)["model"]
    unknown = model.load_state_dict(state, strict=False).unexpected_keys
    if unknown:
        raise ValueError(f"{job.model} holds {unknown[0]}, which the official model does not have")
    return model


class Sam2Peer:
    """The original on one image; its memory is for video."""

    title: ClassVar[str] = "Meta sam2"
    architectures: ClassVar[tuple[str, ...]] = tuple(CONFIGS)

    @staticmethod
    def needs(architecture: str) -> tuple[str, ...]:
        """Distributions that have to be installed."""
        return "sam2", "hydra-core", "iopath", "torch"

    @staticmethod
    def prepare(job: Job, folder: Path) -> str:
        return job.model

    def __init__(self, job: Job) -> None:
        model = build(job)
        import torch
        from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
        from sam2.sam2_image_predictor import SAM2ImagePredictor

        if job.threads:
            torch.set_num_threads(job.threads)
        self._make_generator = partial(SAM2AutomaticMaskGenerator, model)
        self._predictor = SAM2ImagePredictor(model)
        self._substitution = substitute(job, model.sam_prompt_encoder, model.sam_mask_decoder)
        self._torch = torch
        self.provider = f"torch {torch.__version__}"
        self.artifact_bytes = Path(job.model).stat().st_size

    def encode(self, image: Pixels) -> None:
        with self._torch.inference_mode():
            self._predictor.set_image(image)

    def decode(self, points: Points) -> NDArray[np.float32]:
        predictor = self._predictor
        with self._torch.inference_mode():
            coordinates, labels = as_prompts(points)
            moved = predictor._transforms.transform_coords(
                coordinates, normalize=True, orig_hw=predictor._orig_hw[-1]
            )
            _, _, masks = predictor._predict(moved, labels, multimask_output=True)
        found: NDArray[np.float32] = masks.numpy()
        return found

    def click(self, point: Points) -> NDArray[np.bool_]:
        with self._torch.inference_mode():
            masks, _, _ = self._predictor.predict(
                point_coords=point, point_labels=np.ones(1, int), multimask_output=False
            )
        return np.asarray(masks[0] > 0)

    def generate(self, image: Pixels, settings: dict[str, Any]) -> int:
        with self._torch.inference_mode():
            return all_masks(self._make_generator, self._substitution, image, settings)
