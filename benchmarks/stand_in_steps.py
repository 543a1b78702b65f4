"""Stand-ins for torchvision's steps on float tensors, which torch can script; see
:mod:`samdeploy.benchmarks.stand_in`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


def float_steps() -> dict[str, Any]:
    """By their names in ``torchvision.transforms``."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Resize(nn.Module):
        """Bilinear, antialiased."""

        def __init__(self, size: tuple[int, int]) -> None:
            super().__init__()
            self.height, self.width = size

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            size = [self.height, self.width]
            return F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]

    class Normalize(nn.Module):
        def __init__(self, mean: list[float], std: list[float]) -> None:
            super().__init__()
            self.register_buffer("mean", torch.tensor(mean).reshape(-1, 1, 1))
            self.register_buffer("std", torch.tensor(std).reshape(-1, 1, 1))
            self.mean: torch.Tensor
            self.std: torch.Tensor

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = (image - self.mean) / self.std
            return result

    return {"ToTensor": lambda: _to_tensor, "Resize": Resize, "Normalize": Normalize}


def _to_tensor(image: NDArray[np.uint8]) -> Tensor:
    """``[H, W, 3]`` uint8 to ``[3, H, W]`` float32 in 0-1."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float() / 255
