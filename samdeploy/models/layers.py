"""Small layers that several parts of SAM share."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# One step of attention may hold this many score elements per image. Global attention over
# 64 x 64 tokens has 16.8 million a head: without a bound, the exported graph keeps all heads at
# once and ONNX Runtime needs 6.9 GB for ViT-B.
_SCORES_PER_STEP = 1 << 24

#: Bytes of a tensor; WebGPU promises to bind no more in one piece.
MOST_BYTES = 1 << 27


def make_tokens(count: int, dim: int) -> nn.Embedding:
    """Learned tokens, as random as :class:`~torch.nn.Embedding` makes them. Its own way of it has
    torch import its compiler, which takes two seconds, where tensors have no values yet (the "meta"
    device)."""
    return nn.Embedding(count, dim, _weight=torch.randn(count, dim))


class LayerNorm2d(nn.Module):
    """Layer normalisation over the channels of ``[B, C, H, W]``.

    Written as a channels-last ``layer_norm`` so that exporters emit one fused operator.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps
        self.normalized_shape = (channels,)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class Mlp(nn.Module):
    """Two linear layers with an activation between: the ViT's (GELU) and the decoder's (ReLU)."""

    def __init__(self, dim: int, hidden: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.lin1 = nn.Linear(dim, hidden)
        self.act = activation()
        self.lin2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.lin2(self.act(self.lin1(x)))
        return out


def make_neck(in_channels: int, out_channels: int) -> nn.Sequential:
    """The two convolutions that bring encoder features to the embedding width."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        LayerNorm2d(out_channels),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        LayerNorm2d(out_channels),
    )


def heads_per_step(size: int, heads: int) -> int:
    """Number of heads, a divisor of ``heads``, that one step of attention among ``size x size``
    tokens takes."""
    # Windows are small and come in large batches: they are always taken in one step.
    if size <= 32:
        return heads
    step = max(1, _SCORES_PER_STEP // size**4)
    while heads % step:
        step -= 1
    return step


def to_windows(x: Tensor, window: int, grid: int) -> Tensor:
    """``[B, grid, grid, C]`` -> ``[B * n * n, window, window, C]``, zero-padded right and bottom.

    Goes through rank-4 tensors only: Core ML refuses rank above 5 and the usual one-step
    partition needs 6.
    """
    n = -(-grid // window)
    pad = n * window - grid
    channels = x.shape[-1]
    if pad:
        x = F.pad(x, (0, 0, 0, pad, 0, pad))
    x = x.reshape(-1, window, n, window * channels).transpose(1, 2)
    return x.reshape(-1, window, window, channels)


def from_windows(x: Tensor, window: int, grid: int) -> Tensor:
    """Inverse of :func:`to_windows`; the result is ``[B, grid, grid, C]``."""
    n = -(-grid // window)
    channels = x.shape[-1]
    x = x.reshape(-1, n, window, window * channels).transpose(1, 2)
    x = x.reshape(-1, n * window, n * window, channels)
    return x[:, :grid, :grid, :]
