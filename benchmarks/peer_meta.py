"""Meta's ``segment_anything``, and its fork ``mobile_sam`` for that architecture, on torch."""

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

_TYPES = {"sam_b": "vit_b", "sam_l": "vit_l", "sam_h": "vit_h", "mobile_sam": "vit_t"}


class MetaPeer:
    """The original: predictor and automatic mask generator."""

    title: ClassVar[str] = "Meta segment_anything"
    architectures: ClassVar[tuple[str, ...]] = tuple(_TYPES)

    @staticmethod
    def needs(architecture: str) -> tuple[str, ...]:
        """Distributions that have to be installed."""
        own = "mobilesam-mirror" if architecture == "mobile_sam" else "segment-anything"
        return own, "torch"

    @staticmethod
    def prepare(job: Job, folder: Any) -> str:
        return job.model

    def __init__(self, job: Job) -> None:
        install_stand_ins()
        import torch

        if job.architecture == "mobile_sam":
            import mobile_sam

            library: Any = mobile_sam
        else:
            import segment_anything

            library = segment_anything
        if job.threads:
            torch.set_num_threads(job.threads)
        model = library.sam_model_registry[_TYPES[job.architecture]](checkpoint=job.model)
        # MobileSAM's builder freezes its attention biases before the weights are there.
        self._model = model.train().eval()
        self._predictor = library.SamPredictor(self._model)
        self._make_generator = partial(library.SamAutomaticMaskGenerator, self._model)
        self._substitution = substitute(job, model.prompt_encoder, model.mask_decoder)
        self._torch = torch
        self.provider = f"torch {torch.__version__}"
        self.artifact_bytes = Path(job.model).stat().st_size

    def encode(self, image: Pixels) -> None:
        self._predictor.set_image(image)

    def decode(self, points: Points) -> NDArray[np.float32]:
        predictor, model = self._predictor, self._model
        with self._torch.no_grad():
            moved = predictor.transform.apply_coords(points, predictor.original_size)
            sparse, dense = model.prompt_encoder(points=as_prompts(moved), boxes=None, masks=None)
            masks, _ = model.mask_decoder(
                image_embeddings=predictor.features,
                image_pe=model.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=True,
            )
        found: NDArray[np.float32] = masks.numpy()
        return found

    def click(self, point: Points) -> NDArray[np.bool_]:
        masks, _, _ = self._predictor.predict(
            point_coords=point, point_labels=np.ones(1, int), multimask_output=False
        )
        mask: NDArray[np.bool_] = masks[0]
        return mask

    def generate(self, image: Pixels, settings: dict[str, Any]) -> int:
        return all_masks(self._make_generator, self._substitution, image, settings)
