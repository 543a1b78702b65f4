"""Hugging Face transformers: ``SamModel`` and the ``mask-generation`` pipeline, on torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samdeploy.benchmarks.jobs import Job
from samdeploy.benchmarks.measure import Pixels, Points
from samdeploy.benchmarks.peer_hooks import as_prompts, substitute
from samdeploy.benchmarks.stand_in import install_stand_ins

_VISION: dict[str, dict[str, Any]] = {
    "sam_b": {},
    "sam_l": {
        "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
        "global_attn_indexes": [5, 11, 17, 23],
    },
    "sam_h": {
        "hidden_size": 1280, "num_hidden_layers": 32, "num_attention_heads": 16,
        "global_attn_indexes": [7, 15, 23, 31],
    },
}  # fmt: skip


class TransformersPeer:
    """The port in transformers."""

    title: ClassVar[str] = "Hugging Face transformers"
    architectures: ClassVar[tuple[str, ...]] = tuple(_VISION)

    @staticmethod
    def needs(architecture: str) -> tuple[str, ...]:
        """Distributions that have to be installed."""
        return "transformers", "torch", "torchvision"

    @staticmethod
    def prepare(job: Job, folder: Path) -> str:
        """Its own form of the checkpoint."""
        install_stand_ins()
        from transformers.models.sam.configuration_sam import SamConfig, SamVisionConfig
        from transformers.models.sam.modeling_sam import SamModel

        from samdeploy.models.load import read_checkpoint
        from samdeploy.models.state_names import published_of

        vision = SamVisionConfig(**_VISION[job.architecture])
        model: Any = SamModel(SamConfig(vision_config=vision.to_dict()))
        state, _ = read_checkpoint(Path(job.model))
        names = published_of(model.state_dict())
        model.load_state_dict({own: state[name] for own, name in names.items()}, strict=True)
        target = folder / "transformers"
        model.save_pretrained(target)
        return str(target)

    def __init__(self, job: Job) -> None:
        install_stand_ins()
        import torch
        from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil
        from transformers.models.sam.modeling_sam import SamModel
        from transformers.pipelines.mask_generation import MaskGenerationPipeline

        if job.threads:
            torch.set_num_threads(job.threads)
        self._model: Any = SamModel.from_pretrained(job.model).eval()
        self._processor: Any = SamImageProcessorPil()
        self._pipeline: Any = MaskGenerationPipeline(
            model=self._model, image_processor=self._processor, framework="pt", device="cpu"
        )
        self._substitution = substitute(job, self._model.prompt_encoder, self._model.mask_decoder)
        self._torch = torch
        self.provider = f"torch {torch.__version__}"
        self.artifact_bytes = sum(path.stat().st_size for path in Path(job.model).iterdir())

    def encode(self, image: Pixels) -> None:
        self._inputs = self._processor(images=Image.fromarray(image), return_tensors="pt")
        with self._torch.inference_mode():
            self._embedding = self._model.get_image_embeddings(self._inputs["pixel_values"])

    def _decode(self, points: Points, multimask: bool) -> Any:
        new = np.asarray(self._inputs["reshaped_input_sizes"][0], np.float64)
        old = np.asarray(self._inputs["original_sizes"][0], np.float64)
        coordinates, labels = as_prompts(points * (new / old)[::-1])
        with self._torch.inference_mode():
            return self._model(
                input_points=coordinates[None],
                input_labels=labels[None],
                image_embeddings=self._embedding,
                multimask_output=multimask,
            ).pred_masks

    def decode(self, points: Points) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self._decode(points, True)[0].numpy()
        return found

    def click(self, point: Points) -> NDArray[np.bool_]:
        masks = self._processor.post_process_masks(
            self._decode(point, False),
            self._inputs["original_sizes"],
            self._inputs["reshaped_input_sizes"],
        )
        mask: NDArray[np.bool_] = masks[0][0, 0].numpy()
        return mask

    def generate(self, image: Pixels, settings: dict[str, Any]) -> int:
        names = {"points_stride": "points_per_crop", "conf_thres": "pred_iou_thresh"}
        chosen = {names.get(name, name): value for name, value in settings.items()}
        if self._substitution:
            self._substitution.enabled = True
        try:
            found = self._pipeline(Image.fromarray(image), points_per_batch=64, **chosen)
        finally:
            if self._substitution:
                self._substitution.enabled = False
        return len(found["masks"])
