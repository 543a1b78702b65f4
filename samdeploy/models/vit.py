"""SAM's image encoder: a plain vision transformer with windowed and global attention.

Sources: Segment Anything (arXiv:2304.02643), ViTDet (arXiv:2203.16527), decomposed relative
positions from MViTv2 (arXiv:2112.01526). Parameter names are those of the published checkpoints.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samdeploy.models.config import VitConfig
from samdeploy.models.layers import Mlp, from_windows, heads_per_step, make_neck, to_windows


class PatchEmbed(nn.Module):
    def __init__(self, patch_size: int, embed_dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, embed_dim, patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.proj(x)
        return out.permute(0, 2, 3, 1)


class Attention(nn.Module):
    """Multi-head attention over a ``size x size`` token grid with decomposed relative positions."""

    def __init__(self, config: VitConfig, size: int) -> None:
        super().__init__()
        dim = config.embed_dim
        self.num_heads = config.num_heads
        self.head_dim = dim // config.num_heads
        self.size = size
        self.qkv = nn.Linear(dim, 3 * dim, bias=config.qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.use_rel_pos = config.use_rel_pos
        if self.use_rel_pos:
            self.rel_pos_h = nn.Parameter(torch.zeros(2 * size - 1, self.head_dim))
            self.rel_pos_w = nn.Parameter(torch.zeros(2 * size - 1, self.head_dim))
            steps = torch.arange(size, device="cpu")  # no weight: it has values from the beginning
            distance = steps[:, None] - steps + size - 1
            self.register_buffer("distance", distance, persistent=False)
        self.distance: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """``[B, size, size, dim]`` -> the same shape."""
        tokens, heads, width = self.size * self.size, self.num_heads, self.head_dim
        qkv = self.qkv(x).reshape(-1, tokens, 3, heads * width)
        # Heads are cut by slicing the channels, so that no step needs all heads at once.
        q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        step = self._heads_per_step()
        out = [
            self._attend(*(part[..., h * width : (h + step) * width] for part in (q, k, v)))
            for h in range(0, heads, step)
        ]
        joined = out[0] if len(out) == 1 else torch.cat(out, dim=-1)
        result: Tensor = self.proj(joined)
        return result.reshape(-1, self.size, self.size, heads * width)

    def _heads_per_step(self) -> int:
        return heads_per_step(self.size, self.num_heads)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of some heads: ``[B, tokens, heads * width]`` in and out."""
        tokens, width = self.size * self.size, self.head_dim
        q, k, v = (
            x.reshape(-1, tokens, x.shape[-1] // width, width).transpose(1, 2) for x in (q, k, v)
        )
        bias = self._relative_bias(q) if self.use_rel_pos else None
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return out.transpose(1, 2).reshape(-1, tokens, q.shape[1] * width)

    def _relative_bias(self, q: Tensor) -> Tensor:
        """``q`` (unscaled) times the position tables: ``[B, heads, tokens, tokens]``."""
        size, heads = self.size, q.shape[1]
        q = q.reshape(-1, size, size, self.head_dim)
        rows = q @ self.rel_pos_h[self.distance].transpose(1, 2)
        columns = q.transpose(1, 2) @ self.rel_pos_w[self.distance].transpose(1, 2)
        # [B heads, tokens, rows, columns]: accelerators want no more than four dimensions.
        bias = rows.reshape(-1, size * size, size, 1) + columns.transpose(1, 2).reshape(
            -1, size * size, 1, size
        )
        return bias.reshape(-1, heads, size * size, size * size)


class Block(nn.Module):
    """Pre-norm transformer block; ``window`` 0 means global attention."""

    def __init__(self, config: VitConfig, grid: int, window: int) -> None:
        super().__init__()
        dim, eps = config.embed_dim, config.layer_norm_eps
        self.grid, self.window = grid, window
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = Attention(config, window or grid)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, int(dim * config.mlp_ratio), nn.GELU)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm1(x)
        if self.window:
            # Padding comes after the norm and is not masked: the published weights expect it.
            windows = self.attn(to_windows(y, self.window, self.grid))
            y = from_windows(windows, self.window, self.grid)
        else:
            y = self.attn(y)
        x = x + y
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class ImageEncoderViT(nn.Module):
    """Normalised image ``[B, 3, S, S]`` -> embedding ``[B, C, S/16, S/16]``."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        grid = config.img_size // config.patch_size
        self.patch_embed = PatchEmbed(config.patch_size, config.embed_dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, config.embed_dim))
        self.blocks = nn.ModuleList(
            Block(config, grid, 0 if i in config.global_attn_indexes else config.window_size)
            for i in range(config.depth)
        )
        self.neck = make_neck(config.embed_dim, config.out_chans)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.neck(x.permute(0, 3, 1, 2))
        return out
