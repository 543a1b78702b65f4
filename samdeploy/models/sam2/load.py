"""A checkpoint file to a :class:`Sam2` in evaluation mode, and to its graphs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from samdeploy.errors import CheckpointError, InputError
from samdeploy.models.checkpoint_file import refusing
from samdeploy.models.conv_norm import fold_norms
from samdeploy.models.load import check_keys, loaded, own_values, read_checkpoint, read_config
from samdeploy.models.loaded import LoadedModel
from samdeploy.models.sam2.config import Sam2Config
from samdeploy.models.sam2.graph_modules import graph_modules
from samdeploy.models.sam2.infer import infer_sam2_config
from samdeploy.models.sam2.names import image_keys, published_name
from samdeploy.models.sam2.sam2 import Sam2
from samdeploy.preprocess import SAM2_STEPS, Preprocess, chosen_preprocess
from samdeploy.session import MOST_IMGSZ
from samdeploy.text import shown

_SECTIONS = frozenset(field.name for field in fields(Sam2Config))
#: What a caller's configuration may hold.
_NAMES = _SECTIONS | {"preprocess", "notes"}


def load(
    path: Path,
    *,
    config: Mapping[str, Any] | str | Path | None = None,
    imgsz: int | None = None,
    trust: bool = False,
) -> LoadedModel:
    """The graphs of a checkpoint and what a manifest says of it; see :func:`load_sam2`, which needs
    no ``trust``."""
    sam = load_sam2(path, config=config, imgsz=imgsz)
    fold_norms(sam.image_encoder)  # EdgeTAM's; layers are named as in the graphs
    return loaded("sam2", sam, graph_modules(sam), path)


def load_sam2(
    path: str | Path,
    *,
    config: Mapping[str, Any] | str | Path | None = None,
    imgsz: int | None = None,
) -> Sam2:
    """Open a checkpoint of SAM 2, 2.1 or EdgeTAM; its part for video is passed over.

    Args:
        config: what tensor shapes cannot tell, as a mapping or the path of a JSON file.
        imgsz: side of the encoder input in pixels. No weight depends on it.

    Raises:
        CheckpointError: not a readable checkpoint, or a key is missing, extra or mis-shaped.
        InputError: no encoder can have an input of ``imgsz`` pixels.
    """
    path, given = Path(path), read_config(config)
    for name in given:
        if name not in _NAMES:
            raise CheckpointError(
                f"config has an entry {shown(name)}; expected one of {', '.join(sorted(_NAMES))}."
            )
    state, combined = read_checkpoint(path, given, SAM2_STEPS)
    preprocess = chosen_preprocess(combined.get("preprocess"), SAM2_STEPS)
    # What is stored beside weights may hold anything, such as the settings of a training.
    sections = {name: value for name, value in combined.items() if name in _SECTIONS}
    with refusing(path):
        found = infer_sam2_config(state, sections)
        if imgsz is not None:
            if not 0 < imgsz <= MOST_IMGSZ or imgsz % 32:
                raise InputError(
                    f"imgsz={imgsz}; expected a multiple of 32 up to {MOST_IMGSZ}, such as 512 or "
                    "1024."
                )
            found = replace(found, image_size=imgsz)
        return build_sam2(found, state, preprocess)


def build_sam2(
    config: Sam2Config, state: Mapping[str, Tensor], preprocess: Preprocess = SAM2_STEPS
) -> Sam2:
    """A :class:`Sam2` holding ``state``, in published names: every key of the image part must be
    there with its shape, and no other."""
    image = {key: state[key] for key in image_keys(state)}
    with torch.device("meta"):  # as for :func:`samdeploy.models.load.build_as`
        sam = Sam2(config, preprocess)
    shapes = {name: tuple(value.shape) for name, value in sam.state_dict().items()}
    names = {name: published_name(name, config.image_encoder.trunk) for name in shapes}
    check_keys({names[name]: shape for name, shape in shapes.items()}, image)
    values = {name: own_values(image[published]) for name, published in names.items()}
    sam.load_state_dict(values, assign=True)
    return sam.eval().requires_grad_(False)
