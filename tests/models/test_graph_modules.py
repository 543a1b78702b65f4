"""The modules that are exported compute what the model computes."""

from __future__ import annotations

import torch
from torch import nn

from samdeploy.checkpoints import resolve_checkpoint
from samdeploy.graphs import ENCODER
from samdeploy.models import graph_modules
from samdeploy.models.load import load_sam


def test_batch_norms_become_part_of_convolutions() -> None:
    sam = load_sam(resolve_checkpoint("sam_tiny.pt")).double()
    image = torch.rand(1, 3, sam.config.image_size, sam.config.image_size, dtype=torch.float64)
    encoder = graph_modules(sam)[ENCODER].module
    kinds = [
        {name for name, part in model.named_modules() if isinstance(part, kind)}
        for model, kind in ((encoder, nn.BatchNorm2d), (sam, nn.BatchNorm2d))
    ]
    assert not kinds[0]
    assert kinds[1]  # the model itself is as it was
    names = {name for name, _ in encoder.named_parameters()}
    assert "sam.image_encoder.patch_embed.seq.0.c.weight" in names
    with torch.inference_mode():
        expected, found = sam.encode(255 * image), encoder(255 * image)
    assert (found - expected).abs().max() <= 1e-9 * expected.abs().max()
