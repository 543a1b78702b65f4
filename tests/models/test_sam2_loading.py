"""Checkpoints of SAM 2: what is read, what is passed over, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from samdeploy.errors import CheckpointError, InputError
from samdeploy.models.sam2 import Sam2, load_sam2
from samdeploy.models.sam2.config import PUBLISHED, HieraConfig
from samdeploy.models.sam2.infer import infer_sam2_config
from samdeploy.models.sam2.names import VIDEO, image_keys, published_name

GOLDEN = Path(__file__).parents[1] / "golden" / "sam2"
WEIGHTS = GOLDEN / "sam2_small" / "weights.safetensors"
SUMMARY = json.loads((GOLDEN / "checkpoints" / "summary.json").read_text())


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return load_file(WEIGHTS)


def stored_keys(name: str) -> dict[str, list[int]]:
    """Shapes of a published checkpoint. Where only 2.1 is listed, 2.0 is the same without what
    came later."""
    folder, later = GOLDEN / "checkpoints", set[str]()
    if not (folder / f"{name}.json").exists():
        name, later = name.replace("sam2_", "sam2.1_"), set(SUMMARY["keys_only_in_2_1"])
    listed = json.loads((folder / f"{name}.json").read_text())["keys"]
    return {key: shape for key, (shape, _) in listed.items() if key not in later}


@pytest.mark.parametrize("name", SUMMARY["models"])
def test_published_checkpoints(name: str) -> None:
    """Every key is used, with its shape, or belongs to the part for video."""
    assert set(PUBLISHED) == {*SUMMARY["models"], "edgetam"}
    shapes = stored_keys(name)
    with torch.device("meta"):
        state = {key: torch.empty(shape) for key, shape in shapes.items()}
        config = infer_sam2_config(state)
        own = Sam2(config).state_dict()
    assert config == PUBLISHED[name]
    assert config.architecture == name
    told = config.image_encoder.trunk
    assert isinstance(told, HieraConfig)
    used = {published_name(key, told): list(value.shape) for key, value in own.items()}
    assert used == {key: shapes[key] for key in image_keys(shapes)}
    assert len(shapes) == SUMMARY["models"][name]["n_keys"]
    assert len(used) == SUMMARY["models"][name]["n_image_mode_keys"]
    assert {key.split(".")[0] for key in shapes.keys() - used.keys()} <= VIDEO
    plans = told.plans(1024)
    trunk = SUMMARY["models"][name]["trunk"]
    assert [plan.heads for plan in plans] == trunk["heads_per_block"]
    assert [plan.window for plan in plans] == trunk["window_per_block"]
    assert [i for i, plan in enumerate(plans) if plan.pools] == trunk["q_pool_blocks"]


def test_a_mapping_says_all(sam2_config: dict[str, Any], state: dict[str, Tensor]) -> None:
    config = load_sam2(WEIGHTS, config=sam2_config).config
    mapping = json.loads(json.dumps(config.to_mapping()))
    assert infer_sam2_config(state, mapping) == config


@pytest.mark.parametrize("prefix", ["", "module.", "model.sam."])
def test_without_video_and_wrapped(
    sam2_config: dict[str, Any], state: dict[str, Tensor], tmp_path: Path, prefix: str
) -> None:
    image = {f"{prefix}{key}": state[key] for key in image_keys(state)}
    torch.save({"model": image}, tmp_path / "sam2.pt")
    sam = load_sam2(tmp_path / "sam2.pt", config=sam2_config)
    for name, value in sam.state_dict().items():
        assert torch.equal(value, state[published_name(name, sam.config.image_encoder.trunk)])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda s: s.pop("sam_mask_decoder.conv_s0.weight"),
            "has no 'sam_mask_decoder.conv_s0.weight'",
        ),
        (
            lambda s: s.pop("image_encoder.trunk.blocks.2.mlp.layers.1.bias"),
            "has no 'image_encoder.trunk.blocks.2.mlp.layers.1.bias'",
        ),
        (lambda s: s.pop("no_mem_embed"), "has no 'no_mem_embed'"),
        (
            lambda s: s.pop("sam_mask_decoder.mask_tokens.weight"),
            "no 'sam_mask_decoder.mask_tokens.weight'",
        ),
        (lambda s: s.update(memory_bank=torch.zeros(2)), "holds 'memory_bank'"),
        (
            lambda s: s.update({"sam_mask_decoder.extra.weight": torch.zeros(2)}),
            "holds 'sam_mask_decoder.extra.weight'",
        ),
        (
            lambda s: s.update(no_mem_embed=torch.zeros(1, 1, 3)),
            r"'no_mem_embed' has shape \[1, 1, 3\]; expected \[1, 1, 64\]",
        ),
        (
            lambda s: s.update({"image_encoder.trunk.pos_embed": torch.zeros(1, 8, 7)}),
            r"'image_encoder.trunk.pos_embed' has shape \[1, 8, 7\]; expected 4 dimensions",
        ),
    ],
)
def test_other_keys_are_refused(
    sam2_config: dict[str, Any], state: dict[str, Tensor], tmp_path: Path, change: Any, says: str
) -> None:
    changed = dict(state)
    change(changed)
    torch.save({"model": changed}, tmp_path / "sam2.pt")
    with pytest.raises(CheckpointError, match=says):
        load_sam2(tmp_path / "sam2.pt", config=sam2_config)


@pytest.mark.parametrize(
    ("trunk", "says"),
    [
        ({"num_heads": 3}, "3 heads in a width of 8"),
        ({"window_spec": [8, 4, 7, 7]}, "pools in windows of 7"),
        ({"window_spec": [8, 4, 14]}, "3 windows for 4 stages"),
        ({"window_spec": "8, 4, 14, 7"}, r"config\['image_encoder'\]\['trunk'\]\['window_spec'\]"),
        ({"global_att_blocks": [3]}, "pools in windows of 0"),
        ({"global_att_blocks": [9]}, r"a global block \[9\] of 9 blocks"),
        ({"heads": 1}, "no entry 'heads'"),
    ],
)
def test_configurations_that_cannot_be(
    sam2_config: dict[str, Any], trunk: dict[str, Any], says: str
) -> None:
    given = {"trunk": {**sam2_config["image_encoder"]["trunk"], **trunk}}
    with pytest.raises(CheckpointError, match=says):
        load_sam2(WEIGHTS, config={"image_size": 256, "image_encoder": given})


def test_a_name_that_nothing_reads(
    sam2_config: dict[str, Any], state: dict[str, Tensor], tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="has an entry 'imge_size'; expected one of image_en"):
        load_sam2(WEIGHTS, config={**sam2_config, "imge_size": 512})
    # Others store whatever they like beside their weights.
    stored = {"model": state, "config": {**sam2_config, "learning_rate": 1e-4}}
    torch.save(stored, tmp_path / "sam2.pt")
    assert load_sam2(tmp_path / "sam2.pt").config.image_size == sam2_config["image_size"]


def test_a_trunk_that_is_not_published_has_to_be_told() -> None:
    with pytest.raises(CheckpointError, match="do not tell num_heads, window_spec, global_att"):
        load_sam2(WEIGHTS)


@pytest.mark.parametrize("size", [100, 272])
def test_other_image_sizes_in_a_configuration(sam2_config: dict[str, Any], size: int) -> None:
    with pytest.raises(CheckpointError, match=f"image size of {size}, no multiple of 32"):
        load_sam2(WEIGHTS, config={**sam2_config, "image_size": size})


@pytest.mark.parametrize("imgsz", [0, -32, 272])
def test_impossible_sizes(sam2_config: dict[str, Any], imgsz: int) -> None:
    with pytest.raises(InputError, match=f"imgsz={imgsz}; expected a multiple of 32"):
        load_sam2(WEIGHTS, config=sam2_config, imgsz=imgsz)
