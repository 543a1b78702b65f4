"""A checkpoint file to an :class:`HqSam` in evaluation mode, and to its graphs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samdeploy.models.config import RepVitConfig, VitConfig, merge
from samdeploy.models.hq.config import HqConfig, HqDecoderConfig
from samdeploy.models.hq.graph_modules import graph_modules
from samdeploy.models.hq.hq_sam import HqSam
from samdeploy.models.infer import StateDict, told_by_shapes
from samdeploy.models.limits import check_conditions, check_config
from samdeploy.models.load import load_as, loaded
from samdeploy.models.loaded import LoadedModel


def load(
    path: Path,
    *,
    config: Mapping[str, Any] | str | Path | None = None,
    imgsz: int | None = None,
    trust: bool = False,
) -> LoadedModel:
    """The graphs of a checkpoint and what a manifest says of it; see :func:`load_hq_sam`, which
    needs no ``trust``."""
    sam = load_hq_sam(path, config=config, imgsz=imgsz)
    return loaded("sam_hq", sam, graph_modules(sam), path)


def load_hq_sam(
    path: str | Path,
    *,
    config: Mapping[str, Any] | str | Path | None = None,
    imgsz: int | None = None,
) -> HqSam:
    """Open a checkpoint of HQ-SAM or Light HQ-SAM; see
    :func:`~samdeploy.models.load.load_sam`.

    Args:
        config: what tensor shapes cannot tell, ``hq_token_only`` of the section ``mask_decoder``
            included, as a mapping or the path of a JSON file.
        imgsz: side of the encoder input in pixels.

    Raises:
        CheckpointError: not a readable checkpoint, or a key is missing, extra or mis-shaped.
        InputError: no encoder can have an input of ``imgsz`` pixels.
    """
    return load_as(HqSam, infer_hq_config, Path(path), config, imgsz)


def infer_hq_config(state: StateDict, overrides: Mapping[str, Any] | None = None) -> HqConfig:
    """The architecture of ``state``; see :func:`~samdeploy.models.infer.infer_config`.

    Raises:
        CheckpointError: a tensor that the inference needs is missing or has an impossible shape, or
            the numbers are of no model that can be built.
    """
    overrides = overrides or {}
    told = told_by_shapes(state, overrides)
    decoder = HqDecoderConfig(**vars(told.mask_decoder))
    config = merge(HqConfig(told.image_encoder, told.prompt_encoder, decoder), overrides)
    check_config(config, len(state))
    encoder = config.image_encoder
    known = not isinstance(encoder, RepVitConfig)
    check_conditions([(known, "early features of a RepViT, which HQ-SAM does not have")])
    if isinstance(encoder, VitConfig):
        some = bool(encoder.global_attn_indexes)
        check_conditions([(some, "no block of global attention, whose features HQ-SAM takes")])
    return config
