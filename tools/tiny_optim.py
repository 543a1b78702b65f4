"""Optimiser of the tiny model: Muon for hidden matrices, AdamW for everything else."""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: Emulated bfloat16 is ten times slower than float32.
HAS_BFLOAT16: bool = torch.cpu._is_avx512_bf16_supported()
DTYPE = torch.bfloat16 if HAS_BFLOAT16 else torch.float32


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrices to ``[B, m, n]``, roughly, by a quintic Newton-Schulz
    iteration.

    Source: K. Jordan, "Muon: an optimizer for hidden layers in neural networks" (2024).
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).to(DTYPE)
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).float()


class Muon(torch.optim.Optimizer):
    """Momentum whose steps are orthogonalised, scaled to the size of AdamW's steps
    (arXiv:2502.16982), with decoupled weight decay."""

    def __init__(
        self, params: list[nn.Parameter], lr: float, momentum: float = 0.95, decay: float = 0.03
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[tuple[nn.Parameter, Tensor]]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    if not self.state[p]:
                        self.state[p]["momentum"] = torch.zeros_like(p.grad)
                    average = self.state[p]["momentum"].lerp_(p.grad, 1 - group["momentum"])
                    direction = p.grad.lerp(average, group["momentum"]).flatten(1)
                    by_shape.setdefault(direction.shape, []).append((p, direction))
            for shape, pairs in by_shape.items():
                updates = orthogonalise(torch.stack([direction for _, direction in pairs]))
                size = 0.2 * max(shape) ** 0.5
                for (p, _), update in zip(pairs, updates, strict=True):
                    p.mul_(1 - group["lr"] * group["decay"])
                    p.add_(update.reshape(p.shape), alpha=-group["lr"] * size)


def make_optimisers(
    sam: nn.Module, matrix_lr: float, lr: float, *extra: nn.Module
) -> list[torch.optim.Optimizer]:
    """Muon at ``matrix_lr`` and AdamW at ``lr`` over the parameters of ``sam`` and of training-only
    modules."""
    hidden, matrices, rest = [], [], []
    for name, p in sam.named_parameters():
        large = p.ndim >= 2 and min(p.shape[0], p[0].numel()) >= 16
        outer = "embed" in name or "tokens" in name or "token.weight" in name
        last = name.endswith("layers.2.weight") and "layers.2.weight" in name.split(".", 1)[1]
        is_head = "hypernetworks" in name or "iou_prediction" in name
        if large and not outer and not (is_head and last):
            hidden.append(p)
        elif p.ndim >= 2:
            matrices.append(p)
        else:
            rest.append(p)
    for module in extra:
        rest.extend(module.parameters())
    groups = [
        {"params": matrices, "weight_decay": 0.03},
        {"params": rest, "weight_decay": 0.0},
    ]
    return [
        Muon(hidden, matrix_lr),
        torch.optim.AdamW(groups, lr, betas=(0.9, 0.98), fused=True),
    ]
