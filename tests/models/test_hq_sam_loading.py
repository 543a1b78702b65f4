"""Checkpoints of HQ-SAM: what is read and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from samdeploy.errors import CheckpointError
from samdeploy.models import SamConfig
from samdeploy.models.hq import HqSam, load_hq_sam
from samdeploy.models.hq.config import PUBLISHED, HqConfig
from samdeploy.models.hq.load import infer_hq_config
from samdeploy.models.load import load_sam
from tests.hq_models import GOLDEN, config_of, listed_keys, state_of, write_checkpoint


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return state_of("small_vit")


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_checkpoints(name: str) -> None:
    """Every key is used, with its shape, and no other."""
    shapes = listed_keys(name)
    with torch.device("meta"):
        config = infer_hq_config({key: torch.empty(shape) for key, shape in shapes.items()})
        sam = HqSam(config)
    assert config == PUBLISHED[name]
    assert config.architecture == name
    assert {key: list(value.shape) for key, value in sam.state_dict().items()} == shapes
    facts = json.loads((GOLDEN / "checkpoints" / f"{name}.json").read_text())
    parts = {"total": sam, "encoder": sam.image_encoder, "mask_decoder": sam.mask_decoder}
    for part, module in parts.items():
        assert sum(p.numel() for p in module.parameters()) == facts[f"{part}_parameters"]


@pytest.mark.parametrize("only", [False, True])
def test_a_mapping_says_all(state: dict[str, Tensor], tmp_path: Path, only: bool) -> None:
    given = json.loads(config_of("small_vit").read_text())
    given["mask_decoder"]["hq_token_only"] = only
    config = load_hq_sam(write_checkpoint("small_vit", tmp_path), config=given).config
    assert config.mask_decoder.hq_token_only is only
    mapping = json.loads(json.dumps(config.to_mapping()))
    assert infer_hq_config(state, mapping) == config


@pytest.mark.parametrize("name", ["small_vit", "small_light"])
def test_another_image_size(tmp_path: Path, name: str) -> None:
    sam = load_hq_sam(write_checkpoint(name, tmp_path), config=config_of(name), imgsz=320)
    assert isinstance(sam.config, HqConfig)
    with torch.inference_mode():
        embedding, features = sam.encode(torch.zeros(1, 3, 320, 320))
    width = sam.config.image_encoder.out_chans
    assert embedding.shape == (1, width, 20, 20)
    assert features.shape == (1, width // 8, 80, 80)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda s: s.pop("mask_decoder.hf_token.weight"),
            "has no 'mask_decoder.hf_token.weight'",
        ),
        (
            lambda s: s.pop("mask_decoder.embedding_maskfeature.3.bias"),
            "has no 'mask_decoder.embedding_maskfeature.3.bias'",
        ),
        (
            lambda s: s.update({"mask_decoder.hf_extra.weight": torch.zeros(2)}),
            "holds 'mask_decoder.hf_extra.weight'",
        ),
        (
            lambda s: s.update(
                {"mask_decoder.compress_vit_feat.0.weight": torch.zeros(8, 64, 2, 2)}
            ),
            r"'mask_decoder.compress_vit_feat.0.weight' has shape \[8, 64, 2, 2\]; expected \[48,",
        ),
    ],
)
def test_other_keys_are_refused(
    state: dict[str, Tensor], tmp_path: Path, change: Any, says: str
) -> None:
    changed = dict(state)
    change(changed)
    torch.save(changed, tmp_path / "hq.pth")
    with pytest.raises(CheckpointError, match=says):
        load_hq_sam(tmp_path / "hq.pth", config=config_of("small_vit"))


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (
            {"mask_decoder": {"hq_token_only": 1}},
            r"\['hq_token_only'\] is 1; expected true or false",
        ),
        ({"mask_decoder": {"hq_only": True}}, "has no entry 'hq_only'"),
        ({"image_encoder": {"global_attn_indexes": []}}, "no block of global attention"),
    ],
)
def test_configurations_that_cannot_be(
    state: dict[str, Tensor], config: dict[str, Any], says: str
) -> None:
    with pytest.raises(CheckpointError, match=says):
        infer_hq_config(state, config)


def test_sam_does_not_take_it_for_its_own(tmp_path: Path) -> None:
    path = write_checkpoint("small_vit", tmp_path)
    with pytest.raises(CheckpointError, match=r"holds 'mask_decoder\.hf_token\.weight'"):
        load_sam(path, config=config_of("small_vit"))


def test_other_sizes_are_named_by_their_encoder(state: dict[str, Tensor]) -> None:
    config = infer_hq_config(state)
    assert config.architecture == "sam_hq_vit_48x4"
    assert SamConfig(config.image_encoder).architecture == "vit_48x4"
