"""SAM's mask decoder: a two-way transformer between prompt tokens and the image embedding.

This is the plain, readable form; parameter names are those of the published checkpoints.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samdeploy.models.config import MaskDecoderConfig, TransformerConfig
from samdeploy.models.layers import LayerNorm2d, Mlp, make_tokens


class Attention(nn.Module):
    """Multi-head attention whose inner width may be smaller than the model's."""

    def __init__(self, dim: int, num_heads: int, downsample_rate: int = 1) -> None:
        super().__init__()
        inner = dim // downsample_rate
        self.num_heads, self.head_dim = num_heads, inner // num_heads
        self.q_proj = nn.Linear(dim, inner)
        self.k_proj = nn.Linear(dim, inner)
        self.v_proj = nn.Linear(dim, inner)
        self.out_proj = nn.Linear(inner, dim)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, key_bias: Tensor | None = None) -> Tensor:
        """``[B, Nq, C]``, ``[B, Nk, C]`` twice -> ``[B, Nq, C]``; ``key_bias`` ``[B, 1, 1, Nk]`` is
        added to the scores."""
        q, k, v = (
            x.reshape(x.shape[0], x.shape[1], self.num_heads, self.head_dim).transpose(1, 2)
            for x in (self.q_proj(q), self.k_proj(k), self.v_proj(v))
        )
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=key_bias)
        out = out.transpose(1, 2)
        result: Tensor = self.out_proj(
            out.reshape(out.shape[0], out.shape[1], self.num_heads * self.head_dim)
        )
        return result


class TwoWayBlock(nn.Module):
    """Tokens attend to each other and to the image, then the image attends to the tokens."""

    def __init__(self, config: TransformerConfig, dim: int, first: bool) -> None:
        super().__init__()
        heads, rate = config.num_heads, config.attention_downsample_rate
        self.first = first
        self.self_attn = Attention(dim, heads)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn_token_to_image = Attention(dim, heads, rate)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, config.mlp_dim, nn.ReLU)
        self.norm3 = nn.LayerNorm(dim)
        self.norm4 = nn.LayerNorm(dim)
        self.cross_attn_image_to_token = Attention(dim, heads, rate)

    def forward(
        self, queries: Tensor, keys: Tensor, query_pe: Tensor, key_pe: Tensor, token_bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        if self.first:  # no positions yet and no residual: the queries are replaced
            queries = self.self_attn(queries, queries, queries, token_bias)
        else:
            q = queries + query_pe
            queries = queries + self.self_attn(q, q, queries, token_bias)
        queries = self.norm1(queries)
        keys_with_pe = keys + key_pe
        queries = queries + self.cross_attn_token_to_image(queries + query_pe, keys_with_pe, keys)
        queries = self.norm2(queries)
        queries = self.norm3(queries + self.mlp(queries))
        keys = keys + self.cross_attn_image_to_token(
            keys_with_pe, queries + query_pe, queries, token_bias
        )
        return queries, self.norm4(keys)


class TwoWayTransformer(nn.Module):
    def __init__(self, config: TransformerConfig, dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayBlock(config, dim, first=i == 0) for i in range(config.depth)
        )
        self.final_attn_token_to_image = Attention(
            dim, config.num_heads, config.attention_downsample_rate
        )
        self.norm_final_attn = nn.LayerNorm(dim)

    def forward(
        self, tokens: Tensor, image: Tensor, image_pe: Tensor, token_bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        """``tokens`` ``[B, T, C]`` and ``image`` ``[B, N, C]`` -> both, updated."""
        queries, keys = tokens, image
        for layer in self.layers:
            queries, keys = layer(queries, keys, tokens, image_pe, token_bias)
        queries = queries + self.final_attn_token_to_image(queries + tokens, keys + image_pe, keys)
        return self.norm_final_attn(queries), keys


class Head(nn.Module):
    """Fully connected head with ReLU between its layers."""

    def __init__(self, dim: int, hidden: int, out: int, depth: int) -> None:
        super().__init__()
        widths = [dim, *[hidden] * (depth - 1), out]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        out: Tensor = self.layers[-1](x)
        return out


class MaskDecoder(nn.Module):
    def __init__(self, config: MaskDecoderConfig, dim: int) -> None:
        super().__init__()
        outputs = config.num_multimask_outputs + 1
        self.transformer = TwoWayTransformer(config.transformer, dim)
        self.iou_token = make_tokens(1, dim)
        self.mask_tokens = make_tokens(outputs, dim)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(dim, dim // 4, 2, stride=2),
            LayerNorm2d(dim // 4),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 4, dim // 8, 2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            Head(dim, dim, dim // 8, 3) for _ in range(outputs)
        )
        self.iou_prediction_head = Head(
            dim, config.iou_head_hidden_dim, outputs, config.iou_head_depth
        )

    def forward(
        self, image: Tensor, image_pe: Tensor, sparse: Tensor, sparse_bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        """All masks and their predicted IoU for ``B`` prompts.

        Args:
            image: ``[B, C, g, g]``, image embedding plus the dense prompt.
            image_pe: ``[1, C, g, g]``.
            sparse: ``[B, P, C]`` prompt tokens.
            sparse_bias: ``[B, P]``, added to the attention scores towards each prompt token.

        Returns:
            Logits ``[B, 1 + multi, 4g, 4g]`` (index 0 is the single-mask output) and IoU
            ``[B, 1 + multi]``.
        """
        outputs, side = self.mask_tokens.weight.shape[0], image.shape[-1]
        queries, keys = self.attend(image, image_pe, sparse, sparse_bias)
        masks = self.masks(queries[:, 1 : outputs + 1], keys, side)
        iou: Tensor = self.iou_prediction_head(queries[:, 0])
        return masks, iou

    def output_tokens(self) -> Tensor:
        """``[1 + masks, C]``: what the answers are read from, in front of the prompt's tokens."""
        return torch.cat([self.iou_token.weight, self.mask_tokens.weight])

    def attend(
        self, image: Tensor, image_pe: Tensor, sparse: Tensor, sparse_bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Tokens ``[B, T, C]``, output tokens first, and image tokens ``[B, g g, C]`` after the
        transformer; arguments as for :meth:`forward`."""
        own = self.output_tokens().unsqueeze(0)
        tokens = torch.cat([own.expand(sparse.shape[0], -1, -1), sparse], dim=1)
        # Of three dimensions: LiteRT's GPU pads none of two.
        bias = F.pad(sparse_bias.unsqueeze(1), (own.shape[1], 0)).unsqueeze(1)
        flat, flat_pe = (x.flatten(2).transpose(1, 2) for x in (image, image_pe))
        queries, keys = self.transformer(tokens, flat, flat_pe, bias)
        return queries, keys

    def masks(self, tokens: Tensor, features: Tensor, side: int) -> Tensor:
        """Mask tokens ``[B, M, C]`` and image tokens ``[B, side * side, C]`` after the transformer
        -> logits ``[B, M, 4 side, 4 side]``."""
        grid = features.transpose(1, 2).reshape(-1, features.shape[-1], side, side)
        return self.filtered(tokens, self.output_upscaling(grid))

    def filtered(self, tokens: Tensor, upscaled: Tensor) -> Tensor:
        """Mask tokens ``[B, M, C]`` and the upscaled image ``[B, C / 8, 4g, 4g]`` -> logits
        ``[B, M, 4g, 4g]``."""
        side = upscaled.shape[-1]
        filters = self.mask_filters(tokens)
        return (filters @ upscaled.flatten(2)).reshape(-1, filters.shape[1], side, side)

    def mask_filters(self, tokens: Tensor) -> Tensor:
        """The filter of each mask token ``[B, M, C]`` for the upscaled image: ``[B, M, C / 8]``."""
        heads = self.output_hypernetworks_mlps
        return torch.stack([head(tokens[:, i]) for i, head in enumerate(heads)], dim=1)
