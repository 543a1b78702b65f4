"""How many trained numbers an architecture has, counted without making one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from samdeploy.models.config import SamConfig, encoder_of, merge
from samdeploy.models.hq.config import HqConfig
from samdeploy.models.hq.hq_sam import HqSam
from samdeploy.models.sam import Sam
from samdeploy.models.sam2 import Sam2
from samdeploy.models.sam2.config import config_of


def count_sam(config: Mapping[str, Any]) -> int:
    """Those of a SAM, from the config in its manifest."""
    return _count(Sam, merge(SamConfig(encoder_of(config)), config))


def count_hq(config: Mapping[str, Any]) -> int:
    """Those of an HQ-SAM."""
    return _count(HqSam, merge(HqConfig(encoder_of(config)), config))


def count_sam2(config: Mapping[str, Any]) -> int:
    """Those of the image part of a SAM 2."""
    return _count(Sam2, config_of(config))


def _count(build: Callable[[Any], nn.Module], config: Any) -> int:
    with torch.device("meta"):
        model = build(config)
    return sum(parameter.numel() for parameter in model.parameters())
