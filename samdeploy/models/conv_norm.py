"""Convolutions with batch norms behind them, and how the norms go away."""

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class ConvNorm(nn.Sequential):
    """Convolution and batch norm, under the checkpoints' short names ``c`` and ``bn``."""

    c: nn.Conv2d
    bn: nn.Module

    def __init__(
        self, c_in: int, c_out: int, kernel: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.add_module(
            "c", nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
        )
        self.add_module("bn", nn.BatchNorm2d(c_out))

    def fold(self) -> nn.Conv2d:
        """Make the norm, in evaluation mode, part of the convolution, which is returned."""
        if isinstance(self.bn, nn.BatchNorm2d):
            self.c = fuse_conv_bn_eval(self.c, self.bn)
            self.bn = nn.Identity()
        return self.c


class BranchedDepthwise(nn.Module):
    """A depthwise convolution in three branches that training keeps apart: 3 x 3, 1 x 1, and the
    identity (RepVGG, arXiv:2101.03697, as in RepViT, arXiv:2307.09283).

    Args:
        norm_of_sum: whether the batch norm of the 1 x 1 branch is behind the sum of all three. It
            is in its own branch in the first models.
    """

    def __init__(self, dim: int, norm_of_sum: bool) -> None:
        super().__init__()
        self.conv = ConvNorm(dim, dim, 3, groups=dim)
        self.conv1: nn.Module = (
            nn.Conv2d(dim, dim, 1, groups=dim) if norm_of_sum else ConvNorm(dim, dim, groups=dim)
        )
        self.bn: nn.Module = nn.BatchNorm2d(dim) if norm_of_sum else nn.Identity()
        self.merged = False

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, h, w]`` -> the same shape."""
        y: Tensor = self.conv(x)
        if self.merged:
            return y
        out: Tensor = self.bn(y + self.conv1(x) + x)
        return out

    def merge(self) -> None:
        """Make all of it, in evaluation mode, the one convolution ``conv.c``, which computes the
        same: a 1 x 1 convolution and the identity are 3 x 3 ones with a single number each."""
        if self.merged:
            return
        conv = self.conv.fold()
        point = self.conv1.fold() if isinstance(self.conv1, ConvNorm) else self.conv1
        assert isinstance(point, nn.Conv2d)
        assert conv.bias is not None
        assert point.bias is not None
        conv.weight.data[:, :, 1, 1] += point.weight.data[:, :, 0, 0] + 1
        conv.bias.data += point.bias.data
        if isinstance(self.bn, nn.BatchNorm2d):
            self.conv.c = fuse_conv_bn_eval(conv, self.bn)
        self.conv1, self.bn, self.merged = nn.Identity(), nn.Identity(), True


def merge_branches(module: nn.Module) -> None:
    """Change ``module``, which is in evaluation mode: convolutions in branches become one."""
    for part in module.modules():
        if isinstance(part, BranchedDepthwise):
            part.merge()


def fold_norms(module: nn.Module) -> None:
    """Change ``module``, which is in evaluation mode: batch norms become part of the convolutions
    before them, and branches one convolution. Converters do that to norms as well, but some of
    them lose the names of the layers."""
    merge_branches(module)
    for part in module.modules():
        if isinstance(part, ConvNorm):
            part.fold()
