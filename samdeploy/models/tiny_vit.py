"""MobileSAM's image encoder: TinyViT without its classification head.

Sources: TinyViT (arXiv:2207.10666), MobileSAM (arXiv:2306.14289). Parameter names are those of
the published ``mobile_sam.pt``.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samdeploy.models.config import TinyVitConfig
from samdeploy.models.conv_norm import ConvNorm
from samdeploy.models.layers import from_windows, make_neck, to_windows


class PatchEmbed(nn.Module):
    """Two strided convolutions: ``[B, 3, S, S]`` -> ``[B, C, S/4, S/4]``."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(
            ConvNorm(3, dim // 2, 3, stride=2), nn.GELU(), ConvNorm(dim // 2, dim, 3, stride=2)
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.seq(x)
        return out


class MBConv(nn.Module):
    """Inverted residual block."""

    def __init__(self, dim: int, expand_ratio: float) -> None:
        super().__init__()
        hidden = int(dim * expand_ratio)
        self.conv1 = ConvNorm(dim, hidden)
        self.conv2 = ConvNorm(hidden, hidden, 3, groups=hidden)
        self.conv3 = ConvNorm(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        y = F.gelu(self.conv1(x))
        y = F.gelu(self.conv2(y))
        return F.gelu(x + self.conv3(y))


class PatchMerging(nn.Module):
    """Change of width, and of resolution when ``stride`` is 2."""

    def __init__(self, dim: int, out_dim: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(dim, out_dim)
        self.conv2 = ConvNorm(out_dim, out_dim, 3, stride=stride, groups=out_dim)
        self.conv3 = ConvNorm(out_dim, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.conv1(x))
        x = F.gelu(self.conv2(x))
        out: Tensor = self.conv3(x)
        return out


class WindowAttention(nn.Module):
    """Attention in a ``window x window`` square with one learned bias per absolute offset."""

    def __init__(self, dim: int, num_heads: int, window: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.window = num_heads, dim // num_heads, window
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.attention_biases = nn.Parameter(torch.zeros(num_heads, window * window))
        steps = torch.arange(window, device="cpu")  # no weight: it has values from the beginning
        apart = (steps[:, None] - steps).abs()
        offset = apart[:, None, :, None] * window + apart[None, :, None]
        offset = offset.reshape(window * window, -1)
        self.register_buffer("offset", offset, persistent=False)
        self.offset: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """``[B, window, window, dim]`` -> the same shape."""
        tokens, heads, width = self.window**2, self.num_heads, self.head_dim
        # The checkpoint interleaves q, k and v head by head.
        qkv = self.qkv(self.norm(x)).reshape(-1, tokens, heads, 3 * width).transpose(1, 2)
        q, k, v = qkv.split(width, dim=3)
        # Read from the weights at every call: a cached table goes stale when weights load later.
        bias = self.attention_biases[:, self.offset].unsqueeze(0)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        joined: Tensor = self.proj(out.transpose(1, 2).reshape(-1, tokens, heads * width))
        return joined.reshape(-1, self.window, self.window, heads * width)


class NormMlp(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(self.norm(x))))
        return out


class TinyVitBlock(nn.Module):
    """Window attention, a depthwise convolution across windows, and an MLP."""

    def __init__(self, config: TinyVitConfig, stage: int, grid: int) -> None:
        super().__init__()
        dim = config.embed_dims[stage]
        self.grid, self.window = grid, config.window_sizes[stage]
        self.attn = WindowAttention(dim, config.num_heads[stage], self.window)
        self.local_conv = ConvNorm(dim, dim, config.local_conv_size, groups=dim)
        self.mlp = NormMlp(dim, int(dim * config.mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        x = x + from_windows(
            self.attn(to_windows(x, self.window, self.grid)), self.window, self.grid
        )
        x = self.local_conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        x = x + self.mlp(x)
        return x.permute(0, 3, 1, 2)


class Stage(nn.Module):
    """Blocks at one resolution, then the merging to the next; ``[B, C, H, W]`` in and out."""

    def __init__(self, blocks: list[nn.Module], downsample: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        if downsample is not None:
            self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        if hasattr(self, "downsample"):
            x = self.downsample(x)
        return x


class TinyViT(nn.Module):
    """Normalised image ``[B, 3, S, S]`` -> embedding ``[B, C, S/16, S/16]``."""

    def __init__(self, config: TinyVitConfig) -> None:
        super().__init__()
        dims = config.embed_dims
        self.patch_embed = PatchEmbed(dims[0])
        self.layers = nn.ModuleList()
        grid = config.img_size // 4
        for stage, depth in enumerate(config.depths):
            blocks: list[nn.Module] = [
                TinyVitBlock(config, stage, grid)
                if stage
                else MBConv(dims[0], config.mbconv_expand_ratio)
                for _ in range(depth)
            ]
            merging = None
            if stage + 1 < len(dims):
                # SAM's decoder needs one sixteenth of the input: two halvings after the stem.
                stride = 2 if stage < 2 else 1
                merging = PatchMerging(dims[stage], dims[stage + 1], stride)
                grid //= stride
            self.layers.append(Stage(blocks, merging))
        if config.norm_head:
            self.norm_head = nn.LayerNorm(dims[-1])  # in the checkpoint, never used
        if config.num_classes:
            self.head = nn.Linear(dims[-1], config.num_classes)  # likewise
        self.neck = make_neck(dims[-1], config.out_chans)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        for stage in self.layers:
            x = stage(x)
        out: Tensor = self.neck(x)
        return out
