"""The image part of SAM 2 and its two halves, as graphs: normalisation is inside, prompts are in
pixels of the encoder's input."""

import torch
from torch import Tensor, nn

from samdeploy.models.prompt_encoder import PromptEncoder
from samdeploy.models.repvit import Trunk
from samdeploy.models.sam2.config import HieraConfig, ImageEncoderConfig, Sam2Config
from samdeploy.models.sam2.hiera import Hiera
from samdeploy.models.sam2.mask_decoder import Sam2MaskDecoder
from samdeploy.models.sam2.neck import Neck, composed
from samdeploy.preprocess import SAM2_STEPS, Preprocess


class ImageEncoder(nn.Module):
    """Trunk and neck."""

    def __init__(self, config: ImageEncoderConfig, image_size: int) -> None:
        super().__init__()
        trunk = config.trunk
        self.trunk: nn.Module = (
            Hiera(trunk, image_size) if isinstance(trunk, HieraConfig) else Trunk(trunk, (2, 2, 2))
        )
        self.neck = Neck(config.widths, config.neck.d_model)


class Sam2(nn.Module):
    """Segment Anything 2 or 2.1 (arXiv:2408.00714), or EdgeTAM (arXiv:2501.07256), without its
    memory."""

    def __init__(self, config: Sam2Config, preprocess: Preprocess = SAM2_STEPS) -> None:
        super().__init__()
        self.config, self.preprocess = config, preprocess
        dim = config.channels
        self.image_encoder = ImageEncoder(config.image_encoder, config.image_size)
        self.prompt_encoder = PromptEncoder(
            config.prompt_encoder, dim, config.grid, config.image_size
        )
        self.mask_decoder = Sam2MaskDecoder(config.mask_decoder, dim)
        self.no_mem_embed = nn.Parameter(torch.zeros(1, 1, dim))
        for name, values in (("pixel_mean", preprocess.mean), ("pixel_std", preprocess.std)):
            rgb = torch.tensor(values, device="cpu").reshape(1, 3, 1, 1)
            self.register_buffer(name, rgb, persistent=False)
        self.pixel_mean: Tensor
        self.pixel_std: Tensor

    def stages(self, image: Tensor) -> list[Tensor]:
        """``[B, 3, S, S]`` RGB in 0-255 -> what the four stages of the trunk end with."""
        found: list[Tensor] = self.image_encoder.trunk((image - self.pixel_mean) / self.pixel_std)
        return found

    def embedding(self, stages: list[Tensor]) -> Tensor:
        """``[B, C, S/16, S/16]``; an image alone has no memory, which is an embedding too."""
        level = self.image_encoder.neck.embedding(stages[2], stages[3])
        return level + self.no_mem_embed.reshape(1, -1, 1, 1)

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode an image.

        Args:
            image: ``[B, 3, S, S]`` RGB in 0-255, as ``preprocess`` makes it.

        Returns:
            ``image_embeddings`` ``[B, C, S/16, S/16]``, ``high_res_feats_0``
            ``[B, C/8, S/4, S/4]`` and ``high_res_feats_1`` ``[B, C/4, S/8, S/8]``.
        """
        stages, neck, decoder = self.stages(image), self.image_encoder.neck, self.mask_decoder
        fine = decoder.conv_s0(neck.lateral(0)(stages[0]))
        middle = decoder.conv_s1(neck.lateral(1)(stages[1]))
        return self.embedding(stages), fine, middle

    def decode(
        self,
        image_embeddings: Tensor,
        high_res_feats_0: Tensor,
        high_res_feats_1: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Masks for ``B`` prompts on one image.

        Args:
            image_embeddings: ``[1, C, g, g]``; like the next two, from :meth:`encode`.
            high_res_feats_0: ``[1, C/8, 4g, 4g]``.
            high_res_feats_1: ``[1, C/4, 2g, 2g]``.
            point_coords: ``[B, P, 2]``, (x, y) in encoder-input pixels.
            point_labels: ``[B, P]``: 1 foreground, 0 background, 2 / 3 box corners, -1 padding
                (behind points and boxes alike), -2 absent (no token; a prompt's answer does not
                depend on how many it has).
            mask_input: ``[B, 1, 4g, 4g]`` logits; not read where ``has_mask_input`` is 0.
            has_mask_input: ``[B]``, 0 or 1.

        Returns:
            ``low_res_masks`` ``[B, 4, 4g, 4g]`` logits, ``iou_predictions`` ``[B, 4]`` in 0-1 and
            ``object_score_logits`` ``[B, 1]``; index 0 is the single-mask output.
        """
        prompts, decoder = self.prompt_encoder, self.mask_decoder
        image = image_embeddings + prompts.dense(mask_input, has_mask_input)
        sparse, bias = prompts.tokens(point_coords, point_labels)
        queries, keys = decoder.attend(image, prompts.dense_positions(), sparse, bias)
        iou, score, tokens = decoder.answers(queries)
        upscaled = decoder.upscaled(keys, (high_res_feats_0, high_res_feats_1))
        return decoder.filtered(tokens, upscaled), iou, score


class Sam2Encoder(nn.Module):
    """The ``encoder`` graph: ``image`` -> ``image_embeddings``, ``high_res_feats_0``,
    ``high_res_feats_1``.

    What follows on the neck in the two finer levels is linear, so each is one convolution: at 1024
    pixels 2.6 GMAC less, and no tensor of 64 MiB.
    """

    def __init__(self, sam: Sam2) -> None:
        super().__init__()
        self.sam = sam
        neck, decoder = sam.image_encoder.neck, sam.mask_decoder
        self.high_res_0 = composed(neck.lateral(0).conv, decoder.conv_s0)
        self.high_res_1 = composed(neck.lateral(1).conv, decoder.conv_s1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        stages = self.sam.stages(image)
        fine, middle = self.high_res_0(stages[0]), self.high_res_1(stages[1])
        return self.sam.embedding(stages), fine, middle


class Sam2Decoder(nn.Module):
    """The ``decoder`` graph: image tensors and prompts -> ``low_res_masks``, ``iou_predictions``,
    ``object_score_logits``."""

    def __init__(self, sam: Sam2) -> None:
        super().__init__()
        self.sam = sam

    def forward(
        self,
        image_embeddings: Tensor,
        high_res_feats_0: Tensor,
        high_res_feats_1: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        return self.sam.decode(
            image_embeddings, high_res_feats_0, high_res_feats_1, point_coords, point_labels,
            mask_input, has_mask_input,
        )  # fmt: skip
