"""The whole model and its two halves, with the signatures of a bundle's graphs."""

import torch
from torch import Tensor, nn

from samdeploy.models.config import SamConfig, TinyVitConfig, VitConfig
from samdeploy.models.mask_decoder import MaskDecoder
from samdeploy.models.prompt_encoder import PromptEncoder
from samdeploy.models.repvit import RepViT
from samdeploy.models.tiny_vit import TinyViT
from samdeploy.models.vit import ImageEncoderViT
from samdeploy.preprocess import SAM_STEPS, Preprocess


class Sam(nn.Module):
    """Segment Anything; ``state_dict`` compatible with the published checkpoints."""

    def __init__(self, config: SamConfig, preprocess: Preprocess = SAM_STEPS) -> None:
        super().__init__()
        self.config, self.preprocess = config, preprocess
        self.image_encoder = self.make_image_encoder()
        self.prompt_encoder = PromptEncoder(
            config.prompt_encoder, config.image_encoder.out_chans, config.grid, config.image_size
        )
        self.mask_decoder = self.make_mask_decoder()
        for name, values in (("pixel_mean", preprocess.mean), ("pixel_std", preprocess.std)):
            rgb = torch.tensor(values, device="cpu").reshape(1, 3, 1, 1)
            self.register_buffer(name, rgb, persistent=False)
        self.pixel_mean: Tensor
        self.pixel_std: Tensor

    def make_image_encoder(self) -> nn.Module:
        encoder = self.config.image_encoder
        if isinstance(encoder, VitConfig):
            return ImageEncoderViT(encoder)
        return TinyViT(encoder) if isinstance(encoder, TinyVitConfig) else RepViT(encoder)

    def make_mask_decoder(self) -> MaskDecoder:
        return MaskDecoder(self.config.mask_decoder, self.config.image_encoder.out_chans)

    def encode(self, image: Tensor) -> Tensor:
        """``[B, 3, S, S]`` RGB in 0-255, as ``preprocess`` makes it -> ``[B, C, S/16, S/16]``."""
        embeddings: Tensor = self.image_encoder((image - self.pixel_mean) / self.pixel_std)
        return embeddings

    def decode(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Masks for ``B`` prompts.

        Args:
            image_embeddings: ``[1, C, g, g]`` (one image for all prompts) or ``[B, C, g, g]``.
            point_coords: ``[B, P, 2]``, (x, y) in encoder-input pixels.
            point_labels: ``[B, P]``: 1 foreground, 0 background, 2 / 3 box corners, -1 padding
                (SAM's "not a point" token), -2 absent (no token; a prompt's answer does not
                depend on how many it has).
            mask_input: ``[B, 1, 4g, 4g]`` logits; not read where ``has_mask_input`` is 0.
            has_mask_input: ``[B]``, 0 or 1.

        Returns:
            ``low_res_masks`` ``[B, 4, 4g, 4g]`` logits and ``iou_predictions`` ``[B, 4]``; index 0
            is the single-mask output.
        """
        masks, iou = self.mask_decoder(
            *self.prompted(image_embeddings, point_coords, point_labels, mask_input, has_mask_input)
        )
        return masks, iou

    def prompted(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What the mask decoder takes, see there, of what :meth:`decode` does."""
        prompts = self.prompt_encoder
        image = image_embeddings + prompts.dense(mask_input, has_mask_input)
        return image, prompts.dense_positions(), *prompts.tokens(point_coords, point_labels)


class SamEncoder(nn.Module):
    """The ``encoder`` graph: ``image`` -> ``image_embeddings``."""

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.sam = sam

    def forward(self, image: Tensor) -> Tensor:
        return self.sam.encode(image)


class SamDecoder(nn.Module):
    """The ``decoder`` graph: embeddings and prompts -> ``low_res_masks``, ``iou_predictions``."""

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.sam = sam

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        return self.sam.decode(
            image_embeddings, point_coords, point_labels, mask_input, has_mask_input
        )
