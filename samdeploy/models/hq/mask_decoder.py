"""HQ-SAM's mask decoder (arXiv:2306.01567): SAM's, with a token for one more mask, which is made of
finer features and corrects all others.

Parameter names are those of the published checkpoints.
"""

import torch
from torch import Tensor, nn

from samdeploy.models.hq.config import HqConfig
from samdeploy.models.layers import LayerNorm2d, make_tokens
from samdeploy.models.mask_decoder import Head, MaskDecoder


class HqMaskDecoder(MaskDecoder):
    def __init__(self, config: HqConfig) -> None:
        dim = config.image_encoder.out_chans
        super().__init__(config.mask_decoder, dim)
        self.hq_token_only = config.mask_decoder.hq_token_only
        self.hf_token = make_tokens(1, dim)
        self.hf_mlp = Head(dim, dim, dim // 8, 3)
        # Applied by the encoder, once per image.
        self.compress_vit_feat = _fourfold(config.early_width, dim, dim // 8)
        self.embedding_encoder = _fourfold(dim, dim // 4, dim // 8)
        self.embedding_maskfeature = nn.Sequential(
            nn.Conv2d(dim // 8, dim // 4, 3, padding=1),
            LayerNorm2d(dim // 4),
            nn.GELU(),
            nn.Conv2d(dim // 4, dim // 8, 3, padding=1),
        )

    def output_tokens(self) -> Tensor:
        """``[2 + masks, C]``: predicted IoU, SAM's masks, the high-quality mask."""
        return torch.cat([super().output_tokens(), self.hf_token.weight])

    def hq_features(self, image_embeddings: Tensor, early: Tensor) -> Tensor:
        """``[B, C, g, g]`` and ``[B, E, g, g]`` -> ``[B, C / 8, 4g, 4g]``: what of the finer
        features depends on the image alone."""
        out: Tensor = self.embedding_encoder(image_embeddings) + self.compress_vit_feat(early)
        return out

    def hq_masks(self, tokens: Tensor, features: Tensor, hq_features: Tensor) -> Tensor:
        """All masks after the transformer.

        Args:
            tokens: ``[B, masks + 1, C]``, the high-quality mask's last.
            features: image tokens ``[B, g g, C]``.
            hq_features: ``[1, C / 8, 4g, 4g]``.

        Returns:
            Logits ``[B, masks, 4g, 4g]``.
        """
        side = hq_features.shape[-1]
        grid = features.transpose(1, 2).reshape(-1, features.shape[-1], side // 4, side // 4)
        upscaled = self.output_upscaling(grid)
        fine = self.embedding_maskfeature(upscaled) + hq_features
        hq = (self.hq_filter(tokens).unsqueeze(1) @ fine.flatten(2)).reshape(-1, 1, side, side)
        return self.corrected(self.filtered(tokens, upscaled), hq)

    def hq_filter(self, tokens: Tensor) -> Tensor:
        """The filter ``[B, C / 8]`` of the high-quality mask for the finer features."""
        out: Tensor = self.hf_mlp(tokens[:, -1])
        return out

    def corrected(self, masks: Tensor, hq: Tensor) -> Tensor:
        """SAM's masks ``[B, masks, h, w]`` and the high-quality one ``[B, 1, h, w]`` -> those that
        are answered, ``[B, masks, h, w]``."""
        return torch.cat([hq] * masks.shape[1], dim=1) if self.hq_token_only else masks + hq


def _fourfold(channels: int, hidden: int, out: int) -> nn.Sequential:
    """Two transposed convolutions to four times the sides."""
    return nn.Sequential(
        nn.ConvTranspose2d(channels, hidden, 2, stride=2),
        LayerNorm2d(hidden),
        nn.GELU(),
        nn.ConvTranspose2d(hidden, out, 2, stride=2),
    )
