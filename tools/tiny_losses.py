"""Losses of the tiny model."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def mask_losses(logits: Tensor, target: Tensor) -> Tensor:
    """Focal, dice and soft IoU loss, 20 : 1 : 1, of ``[B, M, h, w]`` logits against soft masks in
    [0, 1] that broadcast to them -> ``[B, M]``.

    IoU is what masks are scored by; beside dice it favours outlines that are nearly right.
    """
    target = target.expand_as(logits)
    p = logits.sigmoid()
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    # The balance 0.5 between the classes belongs to the focal loss.
    focal = (cross_entropy * (p - target).square()).mean((2, 3)) * 0.5
    shared, both = (p * target).sum((2, 3)), p.sum((2, 3)) + target.sum((2, 3))
    dice = 1 - (2 * shared + 1) / (both + 1)
    iou = 1 - (shared + 1) / (both - shared + 1)
    return 20 * focal + dice + iou


def prompt_loss(
    low_res: Tensor, predicted_iou: Tensor, target: Tensor, on_object: Tensor
) -> tuple[Tensor, Tensor]:
    """Loss of one interaction round, and the IoU that each output really has, ``[B, 4]``; masks
    are compared at the resolution of ``target`` ``[B, 1, h, w]``.

    Token 0, which answers boxes and corrections, counts half more; of tokens 1 to 3 the best one
    is trained, the others a little so that none dies. A prompt on no object has no mask to learn
    but an IoU: 0 for every output.
    """
    low_res, predicted_iou = low_res.float(), predicted_iou.float()
    logits = F.interpolate(low_res, target.shape[-2:], mode="bilinear", align_corners=False)
    per_output = mask_losses(logits, target)
    multi = per_output[:, 1:]
    masks = 1.5 * per_output[:, 0] + multi.amin(1) + 0.1 * multi.mean(1)
    with torch.no_grad():
        found, truth = logits > 0, target > 0.5
        shared = (found & truth).sum((2, 3))
        iou = shared / (found | truth).sum((2, 3)).clamp(min=1)
    weight = on_object.float()
    loss = (masks * weight).sum() / weight.sum().clamp(min=1)
    return loss + 2 * (predicted_iou - iou).square().mean(), iou


class PixelGrouping(nn.Module):
    """Training-only head: pixels of one instance should have near vectors, others far ones.

    It gives the encoder a dense signal for every pixel from the first step on, long before the
    decoder has learnt to ask for it. Not part of the shipped model.
    """

    def __init__(self, dim: int, width: int = 24) -> None:
        super().__init__()
        self.project = nn.Sequential(
            nn.Conv2d(dim, 2 * dim, 1), nn.GELU(), nn.Conv2d(2 * dim, width * 16, 1)
        )
        self.bias = nn.Parameter(torch.tensor(3.0))
        self.scale = nn.Parameter(torch.tensor(0.0))

    def forward(self, embedding: Tensor, labels: Tensor, anchors: Tensor) -> Tensor:
        """``[B, C, g, g]``, instance labels ``[B, 16 g²]`` at four times the grid, and anchor
        positions ``[B, K]`` in them -> loss."""
        pixels = F.pixel_shuffle(self.project(embedding), 4).flatten(2).float()  # [B, D, N]
        chosen = pixels.gather(2, anchors.unsqueeze(1).expand(-1, pixels.shape[1], -1))
        distance = (
            chosen.square().sum(1).unsqueeze(2)
            + pixels.square().sum(1).unsqueeze(1)
            - 2 * chosen.transpose(1, 2) @ pixels
        )
        logits = self.bias - self.scale.exp() * distance
        same = (labels.gather(1, anchors).unsqueeze(2) == labels.unsqueeze(1)).float()
        side = int(labels.shape[1] ** 0.5)
        losses = mask_losses(logits.unflatten(2, (side, side)), same.unflatten(2, (side, side)))
        return losses.mean()
