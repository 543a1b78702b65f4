"""SAM's prompt encoder: points, box corners and a rough mask to tokens and a dense map."""

import math

import torch
from torch import Tensor, nn

from samdeploy.constants import ABSENT_BIAS, LABEL_ABSENT, LABEL_PADDING
from samdeploy.models.config import PromptEncoderConfig
from samdeploy.models.layers import LayerNorm2d, make_tokens


class RandomFourierPositions(nn.Module):
    """Positions in [0, 1]² to ``[..., C]`` by random Fourier features (arXiv:2006.10739)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, dim // 2))
        self.positional_encoding_gaussian_matrix: Tensor

    def forward(self, xy: Tensor) -> Tensor:
        angle = 2 * math.pi * ((2 * xy - 1) @ self.positional_encoding_gaussian_matrix)
        return torch.cat([angle.sin(), angle.cos()], dim=-1)


class PromptEncoder(nn.Module):
    """Parameter names are those of the published checkpoints."""

    def __init__(self, config: PromptEncoderConfig, dim: int, grid: int, image_size: int) -> None:
        super().__init__()
        self.grid, self.image_size = grid, image_size
        #: Prompts come as tokens, see :mod:`samdeploy.host_prompts`.
        self.on_host = False
        hidden = config.mask_in_chans
        self.pe_layer = RandomFourierPositions(dim)
        # Background, foreground, top left corner, bottom right corner.
        self.point_embeddings = nn.ModuleList(make_tokens(1, dim) for _ in range(4))
        self.not_a_point_embed = make_tokens(1, dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, hidden // 4, 2, stride=2),
            LayerNorm2d(hidden // 4),
            nn.GELU(),
            nn.Conv2d(hidden // 4, hidden, 2, stride=2),
            LayerNorm2d(hidden),
            nn.GELU(),
            nn.Conv2d(hidden, dim, 1),
        )
        self.no_mask_embed = make_tokens(1, dim)

    def dense_positions(self) -> Tensor:
        """Positional encoding of the embedding grid, ``[1, C, grid, grid]``."""
        weight = self.no_mask_embed.weight
        steps = torch.arange(self.grid, device=weight.device, dtype=weight.dtype)
        centre = (steps + 0.5) / self.grid
        y, x = torch.meshgrid(centre, centre, indexing="ij")
        positions: Tensor = self.pe_layer(torch.stack([x, y], dim=-1))
        return positions.permute(2, 0, 1).unsqueeze(0)

    def tokens(self, coords: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`sparse`, and what is added to the scores of attention to each token ``[B, P]``.
        Where the host has made both, they are what comes in."""
        if self.on_host:
            return coords, labels
        tokens = self.sparse(coords, labels)
        return tokens, (labels == LABEL_ABSENT).to(tokens.dtype) * ABSENT_BIAS

    def sparse(self, coords: Tensor, labels: Tensor) -> Tensor:
        """Points ``[B, P, 2]`` in encoder-input pixels, labels ``[B, P]`` -> tokens ``[B, P, C]``.

        Branch-free: a label picks its embedding by comparison, so the graph has no data-dependent
        control flow. An absent token (-2) comes out as zeros.
        """
        labels = labels.unsqueeze(-1)
        positions = self.pe_layer((coords + 0.5) / self.image_size)
        tokens: Tensor = positions * (labels >= 0)
        tokens = tokens + self.not_a_point_embed.weight * (labels == LABEL_PADDING)
        for label, embedding in enumerate(self.point_embeddings):
            weight: Tensor = embedding.get_parameter("weight")
            tokens = tokens + weight * (labels == label)
        return tokens

    def dense(self, mask: Tensor, has_mask: Tensor) -> Tensor:
        """``[B, 1, 4g, 4g]`` logits and ``[B]`` flags -> ``[B, C, g, g]``."""
        use = has_mask.reshape(-1, 1, 1, 1)
        none = self.no_mask_embed.weight.reshape(1, -1, 1, 1)
        dense: Tensor = self.mask_downscaling(mask) * use + none * (1 - use)
        return dense
