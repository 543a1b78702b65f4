"""Checkpoint files: every form that is read, and everything that is refused."""

from __future__ import annotations

import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from samdeploy.checkpoints import resolve_checkpoint
from samdeploy.constants import PIXEL_MEAN, PIXEL_STD
from samdeploy.errors import CheckpointError, InputError
from samdeploy.models.families import load_model
from samdeploy.models.load import (
    load_sam,
    read_checkpoint,
    read_config,
    read_preprocess,
    read_whole_image,
)
from samdeploy.preprocess import MEDSAM_STEPS, SAM_STEPS

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


@pytest.mark.parametrize("name", ["sam.pt", "sam"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state},
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {"model": {f"module.{key}": value for key, value in state.items()}},
        lambda state: {"state_dict": {f"model.sam.{key}": value for key, value in state.items()}},
        lambda state: {key: value.half() for key, value in state.items()},
    ],
)
def test_forms(state: State, small_config: Path, tmp_path: Path, name: str, wrap: Any) -> None:
    torch.save(wrap(state), tmp_path / name)
    assert_loads(tmp_path / name, small_config, state)


def test_a_model_has_weights_of_its_own(
    small_checkpoint: Path, small_config: Path, state: State, tmp_path: Path
) -> None:
    """safetensors maps a file into memory; it may be written anew while the model is open."""
    path = tmp_path / "w.safetensors"
    path.write_bytes(small_checkpoint.read_bytes())
    sam = load_sam(path, config=small_config)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(bytes(path.stat().st_size // 2))
    assert all(torch.equal(value, state[key]) for key, value in sam.state_dict().items())


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


@pytest.mark.parametrize("name", ["W.PT", "weights.bin", "last.ckpt", "noext", "sam.safetensors"])
@pytest.mark.parametrize("save", [torch.save, save_file])
def test_the_content_says_what_it_is(
    state: State, small_config: Path, tmp_path: Path, name: str, save: Any
) -> None:
    save(state, tmp_path / name)
    assert_loads(tmp_path / name, small_config, state)


def test_the_old_format_of_torch(state: State, small_config: Path, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert_loads(tmp_path / "old.pth", small_config, state)


POINTER = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 375042383\n"
)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (POINTER, "pointer of Git LFS and not the weights; run 'git lfs pull'"),
        (b"<!DOCTYPE html><html>", "is a web page and not the weights; download the file itself"),
        (b"\xef\xbb\xbf\n <html>", "is a web page"),
        (b"", "is empty; fetch it again"),
        (b"\x1f\x8b\x08\0", "is compressed with gzip"),
        (b'{"error": "Access denied"}', "neither torch.save nor safetensors wrote it"),
        (b"\0" * 1000, "neither torch.save nor safetensors wrote it"),
        (b"PK\x03\x04" + b"\0" * 1000, "cannot be read as a checkpoint"),
        (b"\x40\0\0\0\0\0\0\0{}", "cannot be read as a checkpoint"),
        (b"\xff\xff\xff\xff\0\0\0\0{}", "cannot be read as a checkpoint"),
    ],
)
@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_what_is_taken_for_a_checkpoint(
    tmp_path: Path, content: bytes, says: str, name: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=says) as refused:
        load_sam(tmp_path / name)
    assert "\n" not in str(refused.value)


def test_an_archive_and_a_torchscript_model(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "weights.pt", "w") as archive:
        archive.writestr("sam.pth", b"weights")
    with pytest.raises(CheckpointError, match="is an archive and no checkpoint"):
        load_sam(tmp_path / "weights.pt")
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        archive.writestr("script/data.pkl", b"")
        archive.writestr("script/constants.pkl", b"")
    with pytest.raises(CheckpointError, match="is a TorchScript model"):
        load_sam(tmp_path / "script.pt")


def test_a_record_that_grows_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", bytes(10_000_000))
    with pytest.raises(CheckpointError, match="holds compressed records"):
        load_sam(tmp_path / "bomb.pt")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a pipe has no name here")
def test_only_regular_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pt")
    for path in (tmp_path / "pipe.pt", tmp_path, Path("/dev/zero")):
        with pytest.raises(CheckpointError, match="is not a regular file"):
            load_sam(path)
        with pytest.raises(CheckpointError, match="is not a regular file"):
            load_model(path)
        with pytest.raises(CheckpointError, match="is not a regular file"):
            read_config(path)


def test_any_flipped_byte_of_the_weights_is_noticed(state: State, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "whole.pt")
    content = (tmp_path / "whole.pt").read_bytes()
    with zipfile.ZipFile(tmp_path / "whole.pt") as archive:
        largest = max(archive.infolist(), key=lambda record: record.file_size)
    for offset in range(200, largest.file_size, largest.file_size // 5):
        place = largest.header_offset + offset
        flipped = content[:place] + bytes([content[place] ^ 0x40]) + content[place + 1 :]
        (tmp_path / "flipped.pt").write_bytes(flipped)
        with pytest.raises(CheckpointError, match=r"checksum of its record '.*data/"):
            read_checkpoint(tmp_path / "flipped.pt")


def test_checksums_may_be_left_out(state: State, tmp_path: Path) -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(state, tmp_path / "plain.pt")
    finally:
        torch.serialization.set_crc32_options(before)
    assert read_checkpoint(tmp_path / "plain.pt")[0].keys() == state.keys()


WEIGHT = "image_encoder.neck.0.weight"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda w: w.to(torch.int8), "is of int8; expected float16"),
        (lambda w: w.to(torch.int32), "is of int32; expected float16"),
        (lambda w: w > 0, "is of bool; expected float16"),
        (lambda w: w.to(torch.complex64), "is of complex64; expected float16"),
        (lambda w: w.to(torch.float8_e4m3fn), "is of float8_e4m3fn; expected float16"),
        (lambda w: w * float("nan"), "holds 3072 of 3072 values that are not finite"),
        (lambda w: w.index_fill(0, torch.tensor(0), float("inf")), "holds 48 of 3072 values that"),
        (lambda w: w.double() + 1e300, "holds 3072 of 3072 values that are not finite in float32"),
        (lambda w: w.to_sparse(), "is a quantised, sparse, nested or empty"),
        (lambda w: w.to("meta"), "is a quantised, sparse, nested or empty"),
        (
            lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8),
            "is a quantised, sparse, nested or empty",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore")  # of quantised tensors, which torch will drop
def test_only_finite_floats(state: State, tmp_path: Path, change: Any, says: str) -> None:
    torch.save({**state, WEIGHT: change(state[WEIGHT])}, tmp_path / "changed.pt")
    with pytest.raises(CheckpointError, match=f"^'{WEIGHT}' {says}"):
        read_checkpoint(tmp_path / "changed.pt")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floats_of_other_widths(
    state: State, small_config: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    narrow = {key: value.to(dtype) for key, value in state.items()}
    torch.save(narrow, tmp_path / "narrow.pt")
    sam = load_sam(tmp_path / "narrow.pt", config=small_config)
    for key, value in sam.state_dict().items():
        torch.testing.assert_close(value, narrow[key].float(), rtol=0, atol=0)


def test_more_weights_than_the_file_holds(state: State, tmp_path: Path) -> None:
    changed = {**state, WEIGHT: torch.zeros(1).expand(1 << 20, 1 << 20, 1, 1)}
    torch.save(changed, tmp_path / "changed.pt")
    with pytest.raises(CheckpointError, match="bytes of weights, more than it holds"):
        load_sam(tmp_path / "changed.pt")


MEAN, STD = torch.tensor(PIXEL_MEAN), torch.tensor(PIXEL_STD)


@pytest.mark.parametrize(
    ("mean", "std", "says"),
    [
        (MEAN, STD, ""),
        (MEAN.half().reshape(3, 1, 1), STD.half().reshape(1, 3, 1, 1), ""),
        (MEAN / 255, STD / 255, ""),
        (MEAN * 0, STD, r"'pixel_mean' is \[0.0, 0.0, 0.0\]; expected \[123.675"),
        (MEAN.flip(0), STD, "'pixel_mean' is"),
        (MEAN, STD / 255, "'pixel_"),
        (MEAN[:1], STD, "'pixel_mean' is"),
    ],
)
def test_pixel_statistics(
    state: State, small_config: Path, tmp_path: Path, mean: Tensor, std: Tensor, says: str
) -> None:
    torch.save({**state, "pixel_mean": mean, "pixel_std": std}, tmp_path / "pixels.pt")
    if says:
        with pytest.raises(CheckpointError, match=says):
            load_sam(tmp_path / "pixels.pt", config=small_config)
    else:
        assert_loads(tmp_path / "pixels.pt", small_config, state)


def test_pixel_statistics_that_are_asked_for(
    state: State, small_config: Path, tmp_path: Path
) -> None:
    torch.save({**state, "pixel_mean": MEAN * 0, "pixel_std": STD}, tmp_path / "pixels.pt")
    config = {**read_config(small_config), "preprocess": {"mean": [0, 0, 0]}}
    sam = load_sam(tmp_path / "pixels.pt", config=config)
    assert sam.pixel_mean.flatten().tolist() == [0, 0, 0]
    assert sam.preprocess.mean == (0, 0, 0)
    with pytest.raises(InputError, match="medsam"):
        load_sam(tmp_path / "pixels.pt", config={**config, "preprocess": "medsan"})


@pytest.mark.parametrize("steps", ["steps.json", 7, ["sam"]])
def test_a_checkpoint_names_no_file_of_steps(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: object
) -> None:
    (tmp_path / "steps.json").write_text('{"resize": "square"}')
    monkeypatch.chdir(tmp_path)
    torch.save({"model": state, "config": {"preprocess": steps}}, "own.pt")
    for read in (read_checkpoint, lambda path: read_preprocess(path, None, SAM_STEPS)):
        with pytest.raises(CheckpointError, match=r"stores preprocess=.*; expected sam, sam2"):
            read(Path("own.pt"))
    torch.save({"model": state, "config": {"preprocess": "medsam"}}, "named.pt")
    assert read_preprocess(Path("named.pt"), None, SAM_STEPS) == MEDSAM_STEPS


@pytest.mark.parametrize(
    "error",
    [
        IndexError, struct.error, AssertionError, AttributeError, TypeError, ZeroDivisionError,
        RecursionError, MemoryError, OverflowError, RuntimeError("many\nlines"),
    ],
)  # fmt: skip
def test_whatever_a_reader_raises(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    torch.save(state, tmp_path / "odd.pt")

    def broken(*args: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(torch, "load", broken)
    for read in (load_sam, read_whole_image):
        with pytest.raises(CheckpointError, match=r"odd\.pt' cannot be read as a check") as refused:
            read(tmp_path / "odd.pt")
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("image_encoder.blocks.999999999.norm1.weight", "holds 'image_encoder.blocks.999999999"),
        (f"image_encoder.blocks.{'9' * 5000}.x", "holds 'image_encoder.blocks.999"),
        ("mask_decoder.transformer.layers.77.norm1.weight", "holds 'mask_decoder.transformer"),
        ("image_encoder.blocks.٤.norm1.weight", "holds 'image_encoder.blocks.٤"),
    ],
)
def test_a_block_by_itself_is_left_over(
    state: State, small_config: Path, tmp_path: Path, key: str, says: str
) -> None:
    torch.save({**state, key: torch.ones(1)}, tmp_path / "changed.pt")
    with pytest.raises(CheckpointError, match=says):
        load_sam(tmp_path / "changed.pt", config=small_config)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"image_encoder": {"depth": 10**9}}, "'depth' is 1e.09; expected 1 to 65536"),
        ({"image_encoder": {"depth": 60_000}}, "60008 blocks and"),
        ({"mask_decoder": {"num_multimask_outputs": 50_000}}, "blocks and"),
        ({"mask_decoder": {"transformer": {"num_heads": 0}}}, "'num_heads' is 0; expected 1 to"),
        ({"mask_decoder": {"transformer": {"num_heads": 7}}}, "whose heads divide it by 14"),
        ({"image_encoder": {"layer_norm_eps": float("inf")}}, "'layer_norm_eps'.*is inf"),
        ({"image_encoder": {"layer_norm_eps": float("nan")}}, "'layer_norm_eps'.*is nan"),
        ({"image_encoder": {"layer_norm_eps": "1e-6"}}, "is '1e-6'; expected a number"),
        ({"image_encoder": {"num_heads": float("inf")}}, "'num_heads'.*is inf; expected a whole"),
        ({"image_encoder": {"num_heads": 2.5}}, "is 2.5; expected a whole number"),
        ({"image_encoder": {"num_heads": 5}}, "5 heads in a width of 48"),
        ({"image_encoder": {"qkv_bias": "False"}}, "is 'False'; expected true or false"),
        ({"image_encoder": {"global_attn_indexes": "13"}}, "is '13'; expected a list of whole"),
        ({"image_encoder": {"global_attn_indexes": [9]}}, "a global block"),
        ({"image_encoder": {"window_size": 10**5}}, "'window_size' is 100000; expected 1 to 1024"),
        ({"image_encoder": {"img_size": 10**6}}, "'img_size' is 1e.06; expected 1 to 8192"),
        ({"image_encoder": 3}, "is int; expected a mapping"),
        ({"vision_config": {"depth": 3}}, "has an entry 'vision_config'; expected one of"),
    ],
)
def test_configurations_that_cannot_be(
    small_checkpoint: Path, config: dict[str, Any], says: str
) -> None:
    with pytest.raises(CheckpointError, match=says):
        load_sam(small_checkpoint, config=config)


def test_a_stored_configuration_is_checked_as_well(tmp_path: Path) -> None:
    state, _ = read_checkpoint(resolve_checkpoint("sam_tiny.pt"))
    for depths in ([10**9] * 4, [1] * 10_000, float("inf"), {"a": 1}):
        torch.save({"model": state, "config": {"tiny_vit": {"depths": depths}}}, tmp_path / "x.pt")
        with pytest.raises(CheckpointError, match=r"depths|10008 blocks and 379 tensors"):
            load_sam(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("stored", "says"),
    [
        ({"conf_thres": float("nan")}, "conf_thres=nan"),
        ({"conf_thres": torch.ones(1)}, "'conf_thres' of type Tensor"),
        ({"no_such": 1}, "unknown setting 'no_such'"),
    ],
)
def test_recommended_settings_are_checked(
    state: State, tmp_path: Path, stored: dict[str, Any], says: str
) -> None:
    torch.save({"model": state, "whole_image": stored}, tmp_path / "own.pt")
    with pytest.raises(CheckpointError, match=says):
        read_whole_image(tmp_path / "own.pt")


def test_an_image_size_without_end(small_checkpoint: Path, small_config: Path) -> None:
    with pytest.raises(InputError, match="imgsz=1000000000; expected a multiple of 16 up to 8192"):
        load_sam(small_checkpoint, config=small_config, imgsz=10**9)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.pt' cannot be opened or does not exist"):
        load_sam(tmp_path / "none.pt")


@pytest.mark.parametrize("content", ["{", "[1]", "7", "[" * 100_000, "\xff"])
def test_unreadable_config(small_checkpoint: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content, encoding="latin-1")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_sam(small_checkpoint, config=tmp_path / "config.json")
