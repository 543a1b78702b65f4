"""A checkpoint of a published architecture with random weights.

Speed and memory hardly depend on the values of the weights, and the published ones are not always
at hand. What such a model segments means nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from samdeploy.checkpoints import KNOWN
from samdeploy.errors import InputError

if TYPE_CHECKING:
    from samdeploy.models.sam import Sam
    from samdeploy.models.sam2 import Sam2

SEED = 0
DESCRIPTION = f"random (normal, deviation 0.02, seed {SEED})"


def random_model(name: str) -> Sam | Sam2:
    """An untrained model of a published architecture, by the name of its checkpoint.

    Raises:
        InputError: no published architecture has that name.
    """
    import torch

    makers = _makers()
    official = KNOWN[name].file_name if name in KNOWN else name
    make = makers.get(_stem(name)) or makers.get(_stem(official))
    if make is None:
        raise InputError(
            f"model '{name}' with weights=random; expected one of "
            f"{', '.join(f'{known}.pt' for known in makers)}."
        )
    torch.manual_seed(SEED)
    model = make().eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.02)
    return model


def _makers() -> dict[str, Callable[[], Sam | Sam2]]:
    """By the name of an architecture."""
    from samdeploy.models.config import PUBLISHED
    from samdeploy.models.hq import HqSam
    from samdeploy.models.hq.config import PUBLISHED as PUBLISHED_HQ
    from samdeploy.models.sam import Sam
    from samdeploy.models.sam2 import Sam2
    from samdeploy.models.sam2.config import PUBLISHED as PUBLISHED_SAM2

    return {
        **{name: partial(Sam, config) for name, config in PUBLISHED.items()},
        **{name: partial(HqSam, config) for name, config in PUBLISHED_HQ.items()},
        **{name: partial(Sam2, config) for name, config in PUBLISHED_SAM2.items()},
    }


def _stem(name: str) -> str:
    return name.removesuffix(".pth").removesuffix(".pt")


def random_checkpoint(name: str, folder: Path) -> Path:
    """Write :func:`random_model` under the name of its checkpoint, which peers go by."""
    import torch

    from samdeploy.models.sam2 import Sam2
    from samdeploy.models.sam2.names import published_name

    path = folder / f"{_stem(name)}.pt"
    model = random_model(name)
    state = model.state_dict()
    if isinstance(model, Sam2):
        trunk = model.config.image_encoder.trunk
        state = {"model": {published_name(key, trunk): value for key, value in state.items()}}
    torch.save(state, path)
    return path
