"""Which model a state dict is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from samdeploy.errors import CheckpointError, InputError
from samdeploy.models import Sam, SamConfig, TinyVitConfig, VitConfig
from samdeploy.models.config import PUBLISHED, merge
from samdeploy.models.infer import infer_config
from samdeploy.models.load import build_sam, load_sam
from samdeploy.models.resize import resize_positions

LISTS = {"sam_b": "vit_b", "sam_l": "vit_l", "sam_h": "vit_h", "mobile_sam": "vit_t"}


def listed(golden: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((golden / "checkpoints" / f"{LISTS[name]}.json").read_text())
    return found


@pytest.mark.parametrize("name", LISTS)
class TestPublished:
    def test_keys_and_shapes(self, golden: Path, name: str) -> None:
        with torch.device("meta"):
            state = Sam(PUBLISHED[name]).state_dict()
        expected = {key: tuple(shape) for key, (shape, _) in listed(golden, name)["keys"].items()}
        assert {key: tuple(value.shape) for key, value in state.items()} == expected

    def test_parameter_counts(self, golden: Path, name: str) -> None:
        with torch.device("meta"):
            sam = Sam(PUBLISHED[name])
        counts = {
            part: sum(p.numel() for p in module.parameters())
            for part, module in (("total", sam), ("encoder", sam.image_encoder))
        }
        facts = listed(golden, name)
        assert counts == {
            "total": facts["total_parameters"],
            "encoder": facts["encoder_parameters"],
        }

    def test_architecture_is_inferred(self, golden: Path, name: str) -> None:
        keys = listed(golden, name)["keys"]
        state = {key: torch.empty(shape, device="meta") for key, (shape, _) in keys.items()}
        config = infer_config(state)
        assert config == PUBLISHED[name]
        assert config.architecture == name

    def test_config_survives_its_mapping(self, golden: Path, name: str) -> None:
        del golden
        encoder = type(PUBLISHED[name].image_encoder)()
        mapping = json.loads(json.dumps(PUBLISHED[name].to_mapping()))
        assert merge(SamConfig(encoder), mapping) == PUBLISHED[name]


SMALL_VITS = [
    VitConfig(img_size=128, embed_dim=32, depth=2, num_heads=2, out_chans=32, window_size=5,
              global_attn_indexes=(1,)),
    VitConfig(img_size=192, embed_dim=48, depth=3, num_heads=3, out_chans=16, window_size=4,
              global_attn_indexes=(0, 2), mlp_ratio=2.0, qkv_bias=False),
]  # fmt: skip


@pytest.mark.parametrize("encoder", SMALL_VITS)
def test_other_vit_sizes_are_inferred(encoder: VitConfig) -> None:
    config = SamConfig(encoder)
    assert infer_config(Sam(config).state_dict()) == config


def test_other_tiny_vit_sizes_need_their_image_size() -> None:
    encoder = TinyVitConfig(
        img_size=256, embed_dims=(16, 24, 32, 48), depths=(1, 2, 3, 1), num_heads=(2, 3, 4, 6),
        window_sizes=(7, 5, 8, 4), out_chans=32, num_classes=0, norm_head=False,
    )  # fmt: skip
    state = Sam(SamConfig(encoder)).state_dict()
    assert infer_config(state).image_size == 1024  # nothing in the shapes tells
    assert infer_config(state, {"tiny_vit": {"img_size": 256}}) == SamConfig(encoder)


class TestConfig:
    def test_unknown_entry(self, small_checkpoint: Path) -> None:
        with pytest.raises(CheckpointError, match="'heads'"):
            load_sam(small_checkpoint, config={"mask_decoder": {"transformer": {"heads": 4}}})

    def test_wrong_type(self, small_checkpoint: Path) -> None:
        with pytest.raises(CheckpointError, match="expected a whole number"):
            load_sam(small_checkpoint, config={"image_encoder": {"depth": "deep"}})

    def test_section_of_the_other_encoder(self, small_checkpoint: Path) -> None:
        with pytest.raises(CheckpointError, match="tiny_vit"):
            load_sam(small_checkpoint, config={"tiny_vit": {"img_size": 256}})

    def test_no_sam(self) -> None:
        with pytest.raises(CheckpointError, match="Segment Anything"):
            infer_config({"fc.weight": torch.zeros(2, 2)})


class TestOtherImageSizes:
    def test_vit(self, small_checkpoint: Path, small_config: Path) -> None:
        sam = load_sam(small_checkpoint, config=small_config, imgsz=320)
        assert sam.config.image_size == 320
        with torch.inference_mode():
            assert sam.encode(torch.zeros(1, 3, 320, 320)).shape == (1, 64, 20, 20)

    def test_the_same_size_changes_nothing(
        self, small_checkpoint: Path, small_config: Path
    ) -> None:
        plain = load_sam(small_checkpoint, config=small_config).state_dict()
        asked = load_sam(small_checkpoint, config=small_config, imgsz=256).state_dict()
        assert all(torch.equal(plain[key], asked[key]) for key in plain)

    def test_tables_keep_their_ends(self) -> None:
        config = SamConfig(SMALL_VITS[0])
        state = Sam(config).state_dict()
        ramp = torch.linspace(-1, 1, 15).unsqueeze(1).expand(15, 16)
        key = "image_encoder.blocks.1.attn.rel_pos_h"
        _, resized = resize_positions(config, {**state, key: ramp}, 256)
        assert resized[key].shape == (31, 16)
        assert resized[key][0, 0] == pytest.approx(-1, abs=0.05)
        assert resized[key][15, 0] == pytest.approx(0, abs=1e-6)

    def test_tiny_vit(self) -> None:
        config = SamConfig(TinyVitConfig(
            img_size=256, embed_dims=(16, 24, 32, 48), depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2),
            window_sizes=(7, 7, 14, 7), out_chans=32,
        ))  # fmt: skip
        resized, state = resize_positions(config, Sam(config).state_dict(), 320)
        sam = build_sam(resized, state)
        with torch.inference_mode():
            assert sam.encode(torch.zeros(1, 3, 320, 320)).shape == (1, 32, 20, 20)

    @pytest.mark.parametrize("imgsz", [0, -16, 100])
    def test_impossible_sizes(self, small_checkpoint: Path, small_config: Path, imgsz: int) -> None:
        with pytest.raises(InputError, match=f"imgsz={imgsz}"):
            load_sam(small_checkpoint, config=small_config, imgsz=imgsz)


class RankMode(TorchDispatchMode):
    """Remembers the largest rank of any tensor that an operator returns."""

    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(value, Tensor):
                self.largest = max(self.largest, value.ndim)
        return result


@pytest.mark.parametrize(
    "encoder",
    [
        SMALL_VITS[0],
        TinyVitConfig(img_size=128, embed_dims=(16, 24, 32, 48), num_heads=(1, 1, 2, 2)),
    ],
)
def test_no_tensor_has_more_than_five_dimensions(encoder: VitConfig | TinyVitConfig) -> None:
    sam = Sam(SamConfig(encoder)).eval()
    with torch.no_grad(), RankMode() as ranks:
        embedding = sam.encode(torch.zeros(1, 3, 128, 128))
        sam.decode(
            embedding,
            torch.zeros(2, 3, 2),
            torch.ones(2, 3),
            torch.zeros(2, 1, 32, 32),
            torch.zeros(2),
        )
    assert 4 <= ranks.largest <= 5
