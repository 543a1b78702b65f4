"""SAM 2's mask decoder: SAM's, with a token for whether the object is there at all, and with finer
features of the image in the upscaling.

Parameter names are those of the published checkpoints, with ``mlp.lin1`` and ``mlp.lin2`` for
``mlp.layers.0`` and ``mlp.layers.1``.
"""

import torch
from torch import Tensor, nn

from samdeploy.models.config import MaskDecoderConfig
from samdeploy.models.layers import make_tokens
from samdeploy.models.mask_decoder import Head, MaskDecoder


class Sam2MaskDecoder(MaskDecoder):
    def __init__(self, config: MaskDecoderConfig, dim: int) -> None:
        super().__init__(config, dim)
        self.obj_score_token = make_tokens(1, dim)
        self.pred_obj_score_head = Head(dim, dim, 1, 3)
        # Applied by the encoder, once per image.
        self.conv_s0 = nn.Conv2d(dim, dim // 8, 1)
        self.conv_s1 = nn.Conv2d(dim, dim // 4, 1)

    def output_tokens(self) -> Tensor:
        """``[2 + masks, C]``: object score, predicted IoU, masks."""
        return torch.cat([self.obj_score_token.weight, super().output_tokens()])

    def answers(self, queries: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Predicted IoU ``[B, masks]``, object score ``[B, 1]`` (a logit) and mask tokens
        ``[B, masks, C]`` from what the output tokens ``[B, T, C]`` have become."""
        iou = self.iou_prediction_head(queries[:, 1]).sigmoid()
        score = self.pred_obj_score_head(queries[:, 0])
        return iou, score, queries[:, 2 : 2 + self.mask_tokens.weight.shape[0]]

    def upscaled(self, features: Tensor, high_res: tuple[Tensor, Tensor]) -> Tensor:
        """Image tokens ``[B, g g, C]`` and the features ``[1, C / 8, 4g, 4g]`` and ``[1, C / 4, 2g,
        2g]`` -> ``[B, C / 8, 4g, 4g]``."""
        first, norm, activation, second, _ = self.output_upscaling
        fine, middle = high_res
        side = middle.shape[-1] // 2
        x = features.transpose(1, 2).reshape(-1, features.shape[-1], side, side)
        out: Tensor = activation(second(activation(norm(first(x) + middle))) + fine)
        return out
