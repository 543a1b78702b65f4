"""A checkpoint of a published architecture with random weights.

Speed and memory hardly depend on the values of the weights, and the published ones are not always
at hand. What such a model segments means nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from samdeploy.errors import InputError

if TYPE_CHECKING:
    from samdeploy.models.sam import Sam

SEED = 0
DESCRIPTION = f"random (normal, deviation 0.02, seed {SEED})"


def random_model(name: str) -> Sam:
    """An untrained model of a published architecture, by the name of its checkpoint.

    Raises:
        InputError: no published architecture has that name.
    """
    import torch

    from samdeploy.models.config import PUBLISHED
    from samdeploy.models.sam import Sam

    config = PUBLISHED.get(name.removesuffix(".pt"))
    if config is None:
        raise InputError(
            f"model '{name}' with weights=random; expected one of "
            f"{', '.join(f'{known}.pt' for known in PUBLISHED)}."
        )
    torch.manual_seed(SEED)
    model = Sam(config).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.02)
    return model


def random_checkpoint(name: str, folder: Path) -> Path:
    """Write :func:`random_model` under the name of its checkpoint, which peers go by."""
    import torch

    path = folder / f"{name.removesuffix('.pt')}.pt"
    torch.save(random_model(name).state_dict(), path)
    return path
