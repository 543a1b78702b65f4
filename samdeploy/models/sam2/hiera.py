"""SAM 2's trunk: Hiera (arXiv:2306.00989), windowed and global attention in four stages.

Parameter names are those of the published checkpoints, with ``mlp.lin1`` and ``mlp.lin2`` for
``mlp.layers.0`` and ``mlp.layers.1``.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samdeploy.models.layers import MOST_BYTES, Mlp, from_windows, heads_per_step, to_windows
from samdeploy.models.sam2.config import BlockPlan, HieraConfig


class PatchEmbed(nn.Module):
    """Overlapping patches: ``[B, 3, S, S]`` -> ``[B, S/4, S/4, C]``."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, embed_dim, 7, stride=4, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.proj(x)
        return out.permute(0, 2, 3, 1)


class Attention(nn.Module):
    """Multi-head attention among squares of ``size x size`` tokens. Where the block pools, a query
    is the largest of 2 x 2, channel by channel; keys and values stay as many as they are."""

    def __init__(self, plan: BlockPlan) -> None:
        super().__init__()
        self.size = plan.window or plan.grid
        self.pools, self.num_heads, self.dim = plan.pools, plan.heads, plan.out
        tokens = (-(-plan.grid // self.size) * self.size) ** 2
        self.apart = 4 * tokens * 3 * plan.out > MOST_BYTES
        self.qkv = nn.Linear(plan.width, 3 * plan.out)
        self.proj = nn.Linear(plan.out, plan.out)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, size, size, width]`` -> ``[B, size, size, out]``, half the size where it pools."""
        width = self.dim // self.num_heads
        q, k, v = self._projected(x)
        if self.pools:
            q = max_pool(q, self.size)
        # Heads are cut by slicing the channels, so that no step needs all heads at once.
        step = heads_per_step(self.size, self.num_heads)
        bounds = [(h * width, (h + step) * width) for h in range(0, self.num_heads, step)]
        out = [self._attend(q[..., a:b], k[..., a:b], v[..., a:b], step) for a, b in bounds]
        result: Tensor = self.proj(out[0] if len(out) == 1 else torch.cat(out, dim=-1))
        return result

    def _projected(self, x: Tensor) -> Iterator[Tensor]:
        """Queries, keys and values; by a product each where all three would be larger than a tensor
        may be, as in the block behind the first stage."""
        if self.apart:
            parts = zip(self.qkv.weight.chunk(3), self.qkv.bias.chunk(3), strict=True)
            return (F.linear(x, weight, bias) for weight, bias in parts)
        qkv, dim = self.qkv(x), self.dim
        return (qkv[..., i * dim : (i + 1) * dim] for i in range(3))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
        """Attention of some heads: channels are ``heads * width``."""
        side, width = self.size >> self.pools, self.dim // self.num_heads
        q = q.reshape(-1, side * side, heads, width).transpose(1, 2)
        k, v = (x.reshape(-1, self.size**2, heads, width).transpose(1, 2) for x in (k, v))
        out = F.scaled_dot_product_attention(q, k, v)
        return out.transpose(1, 2).reshape(-1, side, side, heads * width)


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, plan: BlockPlan, config: HieraConfig) -> None:
        super().__init__()
        self.plan = plan
        self.norm1 = nn.LayerNorm(plan.width, eps=config.layer_norm_eps)
        self.attn = Attention(plan)
        self.norm2 = nn.LayerNorm(plan.out, eps=config.layer_norm_eps)
        self.hidden = int(plan.out * config.mlp_ratio)
        self.mlp = Mlp(plan.out, self.hidden, nn.GELU)
        if plan.pools:
            self.proj = nn.Linear(plan.width, plan.out)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, grid, grid, width]`` -> ``[B, grid, grid, out]``, half the grid where it pools."""
        grid, window, pools = self.plan.grid, self.plan.window, self.plan.pools
        y: Tensor = self.norm1(x)
        if pools:  # the shortcut goes through the norm as well
            x = max_pool(self.proj(y), grid)
        if window:
            # Padding comes after the norm and is not masked: the published weights expect it.
            windows = self.attn(to_windows(y, window, grid))
            y = from_windows(windows, window >> pools, grid >> pools)
        else:
            y = self.attn(y)
        x = x + y
        return x + self._mlp(self.norm2(x))

    def _mlp(self, x: Tensor) -> Tensor:
        """Some rows at a time where the hidden layer of all would be larger than a tensor may be:
        in the first stage of the large model."""
        rows = self.plan.grid >> self.plan.pools
        step = rows
        while 4 * step * rows * self.hidden > MOST_BYTES and step % 2 == 0:
            step //= 2
        parts: list[Tensor] = [self.mlp(x[:, i : i + step]) for i in range(0, rows, step)]
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]


class Hiera(nn.Module):
    """Normalised image ``[B, 3, S, S]`` -> what every stage ends with, the finest first:
    ``[B, C, S/4, S/4]``, ``[B, 2C, S/8, S/8]``, and so on."""

    def __init__(self, config: HieraConfig, image_size: int) -> None:
        super().__init__()
        rows, columns = config.window_pos_embed_bkg_spatial_size
        window = config.window_spec[0]
        self.repeats = image_size // 4 // window
        self.patch_embed = PatchEmbed(config.embed_dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, config.embed_dim, rows, columns))
        self.pos_embed_window = nn.Parameter(torch.zeros(1, config.embed_dim, window, window))
        self.blocks = nn.ModuleList(Block(plan, config) for plan in config.plans(image_size))
        ends = [sum(config.stages[: stage + 1]) - 1 for stage in range(len(config.stages))]
        self.stage_ends = frozenset(ends)
        for name, size in (("spread_rows", rows), ("spread_columns", columns)):
            self.register_buffer(name, bicubic(size, image_size // 4), persistent=False)
        self.spread_rows: Tensor
        self.spread_columns: Tensor

    def positions(self) -> Tensor:
        """The table of positions, ``[1, S/4, S/4, C]``.

        Made in the graph, by two matrix products: a runtime may keep the table, a file need not
        (25 MB at 1024 pixels).
        """
        coarse = self.spread_rows @ self.pos_embed @ self.spread_columns.transpose(0, 1)
        window = self.pos_embed_window.repeat(1, 1, self.repeats, self.repeats)
        return (coarse + window).permute(0, 2, 3, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.patch_embed(x) + self.positions()
        stages = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.stage_ends:
                stages.append(x.permute(0, 3, 1, 2))
        return stages


def max_pool(x: Tensor, size: int) -> Tensor:
    """The largest of 2 x 2 tokens: ``[B, size, size, C]`` -> ``[B, size / 2, size / 2, C]``.

    Two reductions of neighbouring rows: a pooling operator would need the channels first.
    """
    channels = x.shape[-1]
    rows = x.reshape(-1, 2, size * channels).amax(1)
    return rows.reshape(-1, 2, channels).amax(1).reshape(-1, size // 2, size // 2, channels)


def bicubic(size: int, new: int) -> Tensor:
    """``[new, size]``: the matrix that resizes an axis by bicubic interpolation, which is linear in
    what it interpolates."""
    impulses = torch.eye(size, device="cpu").reshape(1, size, size, 1)
    return F.interpolate(impulses, (new, 1), mode="bicubic").reshape(size, new).transpose(0, 1)
