"""Checkpoint files: every form that is read, and everything that is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from samdeploy.errors import CheckpointError
from samdeploy.models.load import load_sam

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state(small_checkpoint: Path) -> State:
    return load_file(small_checkpoint)


def assert_loads(path: Path, config: Path | None, state: State) -> None:
    sam = load_sam(path, config=config)
    assert not sam.training
    for key, value in sam.state_dict().items():
        torch.testing.assert_close(value, state[key].to(value.dtype), rtol=1e-3, atol=1e-3)
        assert value.dtype in (torch.float32, torch.int64)


@pytest.mark.parametrize("name", ["sam.pt", "sam.pth"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state},
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {"model": {f"module.{key}": value for key, value in state.items()}},
        lambda state: {key: value.half() for key, value in state.items()},
    ],
)
def test_forms(state: State, small_config: Path, tmp_path: Path, name: str, wrap: Any) -> None:
    torch.save(wrap(state), tmp_path / name)
    assert_loads(tmp_path / name, small_config, state)


def test_a_stored_configuration_is_used(state: State, small_config: Path, tmp_path: Path) -> None:
    sam = load_sam(small_config.parent / "weights.safetensors", config=small_config)
    torch.save({"model": state, "config": sam.config.to_mapping()}, tmp_path / "own.pt")
    assert load_sam(tmp_path / "own.pt").config == sam.config


def test_a_given_configuration_wins_entry_by_entry(
    state: State, small_config: Path, tmp_path: Path
) -> None:
    sam = load_sam(small_config.parent / "weights.safetensors", config=small_config)
    torch.save({"model": state, "config": sam.config.to_mapping()}, tmp_path / "own.pt")
    changed = load_sam(tmp_path / "own.pt", config={"image_encoder": {"layer_norm_eps": 1e-5}})
    assert changed.config.image_encoder.layer_norm_eps == 1e-5  # type: ignore[union-attr]
    assert changed.config.mask_decoder == sam.config.mask_decoder


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.pop("image_encoder.neck.0.weight"), "no 'image_encoder.neck.0.weight'"),
        (lambda s: s.pop("mask_decoder.iou_token.weight"), "no 'mask_decoder.iou_token.weight'"),
        (lambda s: s.update({"head.bias": torch.zeros(2)}), "holds 'head.bias'"),
        (
            lambda s: s.update({"mask_decoder.iou_token.weight": torch.zeros(1, 3)}),
            r"'mask_decoder.iou_token.weight' has shape \[1, 3\]; expected \[1, 64\]",
        ),
    ],
)
def test_keys_that_do_not_fit(
    state: State, small_config: Path, tmp_path: Path, change: Any, says: str
) -> None:
    changed = dict(state)
    change(changed)
    torch.save(changed, tmp_path / "changed.pt")
    with pytest.raises(CheckpointError, match=says):
        load_sam(tmp_path / "changed.pt", config=small_config)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_truncated(state: State, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cut{suffix}"
    if suffix == ".pt":
        torch.save(state, path)
    else:
        save_file(state, path)
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(CheckpointError, match=rf"cut\{suffix}"):
        load_sam(path)


@pytest.mark.parametrize("content", [[torch.zeros(2)], {"epoch": 3}, {}, "text", 7])
def test_what_is_no_state_dict(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"other\.pt"):
        load_sam(tmp_path / "other.pt")


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def test_code_in_a_file_is_never_run(tmp_path: Path) -> None:
    torch.save({"model": Bomb(tmp_path / "ran")}, tmp_path / "bomb.pt")
    with pytest.raises(CheckpointError, match="never executed"):
        load_sam(tmp_path / "bomb.pt")
    assert not (tmp_path / "ran").exists()


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        load_sam(tmp_path / "none.pt")


@pytest.mark.parametrize("content", ["{", "[1]", "7"])
def test_unreadable_config(small_checkpoint: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_sam(small_checkpoint, config=tmp_path / "config.json")
