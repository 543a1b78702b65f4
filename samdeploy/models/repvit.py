"""RepViT (arXiv:2307.09283), a convolutional network laid out like a vision transformer: the image
encoder of RepViT-SAM (arXiv:2312.05760), and the trunk of EdgeTAM (arXiv:2501.07256).

Parameter names are those of the published ``repvit_sam.pt``.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samdeploy.models.config import RepVitConfig, RepVitTrunkConfig
from samdeploy.models.conv_norm import BranchedDepthwise, ConvNorm
from samdeploy.models.layers import make_neck

#: Hidden channels of the channel mixer, as a multiple of its width.
_EXPANSION = 2


class SqueezeExcite(nn.Module):
    """Weighs channels by what their means over the whole image say (arXiv:1709.01507)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        # A quarter, to the nearest multiple of 8.
        hidden = max(8, (dim // 4 + 4) // 8 * 8)
        self.fc1 = nn.Conv2d(dim, hidden, 1)
        self.fc2 = nn.Conv2d(hidden, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, h, w]`` -> the same shape."""
        y = F.relu(self.fc1(x.mean((2, 3), keepdim=True)))
        return x * torch.sigmoid(self.fc2(y))


class Residual(nn.Module):
    """What the module ``m`` makes of its input is added to it."""

    def __init__(self, m: nn.Module) -> None:
        super().__init__()
        self.m = m

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.m(x)
        return out


class Block(nn.Module):
    """Mixes neighbouring tokens, then the channels of each."""

    def __init__(self, token_mixer: list[nn.Module], dim: int) -> None:
        super().__init__()
        hidden = _EXPANSION * dim
        self.token_mixer = nn.Sequential(*token_mixer)
        self.channel_mixer = Residual(
            nn.Sequential(ConvNorm(dim, hidden), nn.GELU(), ConvNorm(hidden, dim))
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.channel_mixer(self.token_mixer(x))
        return out


class Trunk(nn.Module):
    """Normalised image ``[B, 3, S, S]`` -> what every stage ends with, the finest first:
    ``[B, C, S/4, S/4]``, then as the strides between say.

    Args:
        strides: of the step to every stage after the first.
    """

    def __init__(self, config: RepVitTrunkConfig, strides: tuple[int, ...]) -> None:
        super().__init__()
        dims = config.embed_dims
        stem = dims[0] // 2, dims[0]
        features: list[nn.Module] = [
            nn.Sequential(
                ConvNorm(3, stem[0], 3, stride=2), nn.GELU(), ConvNorm(*stem, 3, stride=2)
            )
        ]
        ends = []
        for stage, (dim, depth) in enumerate(zip(dims, config.depths, strict=True)):
            if stage:
                before, stride = dims[stage - 1], strides[stage - 1]
                features.append(_same_size(before, False, config))
                features.append(_smaller(before, dim, stride))
            # Every other block weighs its channels, the first one included.
            features += [_same_size(dim, index % 2 == 0, config) for index in range(depth)]
            ends.append(len(features) - 1)
        self.features = nn.ModuleList(features)
        self.stage_ends = frozenset(ends)

    def forward(self, x: Tensor) -> list[Tensor]:
        stages = []
        for index, block in enumerate(self.features):
            x = block(x)
            if index in self.stage_ends:
                stages.append(x)
        return stages


class RepViT(nn.Module):
    """Normalised image ``[B, 3, S, S]`` -> embedding ``[B, C, S/16, S/16]``."""

    def __init__(self, config: RepVitConfig) -> None:
        super().__init__()
        # SAM's decoder needs one sixteenth of the input: two halvings after the stem.
        strides = tuple(2 if stage < 2 else 1 for stage in range(len(config.embed_dims) - 1))
        trunk = Trunk(config, strides)
        self.features = trunk.features
        self.neck = make_neck(config.embed_dims[-1], config.out_chans)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.features:
            x = block(x)
        out: Tensor = self.neck(x)
        return out


def _same_size(dim: int, squeezes: bool, config: RepVitTrunkConfig) -> Block:
    squeeze = SqueezeExcite(dim) if squeezes else nn.Identity()
    return Block([BranchedDepthwise(dim, config.norm_of_sum), squeeze], dim)


def _smaller(dim: int, out_dim: int, stride: int) -> Block:
    depthwise = ConvNorm(dim, dim, 3, stride=stride, groups=dim)
    # The numbers in checkpoints leave room for a squeeze between them, which no model has.
    return Block([depthwise, nn.Identity(), ConvNorm(dim, out_dim)], out_dim)
