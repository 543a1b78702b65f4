"""SAM 2's neck: a feature pyramid (arXiv:1612.03144) of 1 x 1 convolutions."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Lateral(nn.Module):
    """The part of one stage in the pyramid."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, width, h, w]`` -> ``[B, dim, h, w]``."""
        out: Tensor = self.conv(x)
        return out


class Neck(nn.Module):
    """The pyramid, of whose levels only the embedding has a top-down part, from the last stage; the
    two finer ones are lateral alone. As in the checkpoints, the last stage's convolution is the
    first.

    Args:
        widths: channels of the four stages, the finest first.
        dim: channels of every level.
    """

    def __init__(self, widths: tuple[int, ...], dim: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(Lateral(width, dim) for width in reversed(widths))

    def lateral(self, level: int) -> Lateral:
        """The convolution of a level, the finest being 0."""
        conv = self.convs[len(self.convs) - 1 - level]
        assert isinstance(conv, Lateral)
        return conv

    def embedding(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """The third stage and the last, ``[B, c, g, g]`` and ``[B, 2c, g/2, g/2]`` -> level 2,
        ``[B, dim, g, g]``."""
        above = F.interpolate(self.lateral(3)(coarse), scale_factor=2.0, mode="nearest")
        out: Tensor = self.lateral(2)(fine) + above
        return out


def composed(first: nn.Conv2d, second: nn.Conv2d) -> nn.Conv2d:
    """One 1 x 1 convolution that does what two in a row do."""
    assert first.bias is not None
    assert second.bias is not None
    both = nn.Conv2d(first.in_channels, second.out_channels, 1)
    weight = second.weight.flatten(1)
    with torch.no_grad():
        both.weight = nn.Parameter((weight @ first.weight.flatten(1))[:, :, None, None])
        both.bias = nn.Parameter(weight @ first.bias + second.bias)
    return both.requires_grad_(False)
