"""Bundles: what is written, and everything that must be refused."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from samdeploy import SAM, YOLO
from samdeploy.bundle import (
    MANIFEST,
    SCHEMA_VERSION,
    Bundle,
    file_record,
    new_bundle,
    write_manifest,
)
from samdeploy.bundle_files import sha256
from samdeploy.errors import BundleError, InputError
from samdeploy.graphs import ALL_ROLES, DECODER
from samdeploy.opening import class_of


@pytest.fixture
def bundle(small_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_bundle, tmp_path / "bundle"))


def change(bundle: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    path = bundle / MANIFEST
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def test_manifest_of_an_export(bundle: Path, small_checkpoint: Path) -> None:
    manifest = Bundle.open(bundle).manifest
    assert manifest.schema_version == SCHEMA_VERSION
    assert (manifest.format, manifest.runtime, manifest.precision) == (
        "onnx", "onnxruntime", "fp32",
    )  # fmt: skip
    assert (manifest.image_size, manifest.embedding_channels) == (256, 64)
    assert [graph.role for graph in manifest.graphs] == list(ALL_ROLES)
    assert manifest.source.sha256 == sha256(small_checkpoint)
    assert manifest.source.licence == "unknown"
    assert manifest.verification.passed
    assert manifest.verification.mask_iou_mean >= 0.999
    assert manifest.config["mask_decoder"]["transformer"]["num_heads"] == 4
    assert manifest.tools["onnxruntime"]


def test_size_is_that_of_the_files(bundle: Path) -> None:
    files = sum(path.stat().st_size for path in bundle.glob("*.onnx"))
    assert Bundle.open(bundle).bytes == files


def test_a_folder_without_manifest(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="not a bundle"):
        Bundle.open(tmp_path)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"schema_version": 1}', '{"schema_version": "x"}']
)
def test_a_broken_manifest(bundle: Path, content: str) -> None:
    (bundle / MANIFEST).write_text(content)
    with pytest.raises(BundleError, match="not a valid manifest"):
        Bundle.open(bundle)


def test_a_manifest_from_the_future(bundle: Path) -> None:
    # A newer schema may look entirely different: its version must be read first.
    (bundle / MANIFEST).write_text(json.dumps({"schema_version": SCHEMA_VERSION + 1}))
    with pytest.raises(BundleError, match=f"schema version {SCHEMA_VERSION + 1}.*upgrade"):
        Bundle.open(bundle)


def test_a_changed_byte(bundle: Path) -> None:
    path = bundle / "decoder.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"decoder\.onnx.*changed"):
        Bundle.open(bundle)


def test_a_truncated_file(bundle: Path) -> None:
    path = bundle / "encoder.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"encoder\.onnx.*bytes"):
        Bundle.open(bundle)


def test_a_missing_file(bundle: Path) -> None:
    (bundle / "encoder.onnx").unlink()
    with pytest.raises(BundleError, match=r"lacks 'encoder\.onnx'"):
        Bundle.open(bundle)


@pytest.mark.parametrize(
    "path", ["../encoder.onnx", "/etc/passwd", "a/../../encoder.onnx", "..\\x"]
)
def test_a_path_that_leaves_the_folder(bundle: Path, path: str) -> None:
    shutil.copy(bundle / "encoder.onnx", bundle.parent / "encoder.onnx")
    change(bundle, lambda m: m["graphs"][0]["files"][0].update(path=path))
    with pytest.raises(BundleError, match="outside its folder"):
        Bundle.open(bundle)


def test_a_link_that_leaves_the_folder(bundle: Path) -> None:
    outside = bundle.parent / "outside.onnx"
    (bundle / "encoder.onnx").rename(outside)
    (bundle / "encoder.onnx").symlink_to(outside)
    with pytest.raises(BundleError, match="outside its folder"):
        Bundle.open(bundle)


def test_a_missing_role(bundle: Path) -> None:
    def drop(manifest: dict[str, Any]) -> None:
        manifest["graphs"] = [g for g in manifest["graphs"] if g["role"] != DECODER]

    change(bundle, drop)
    with pytest.raises(BundleError, match="no decoder graph"):
        Bundle.open(bundle)


def test_hash_of_a_folder_covers_names_and_contents(tmp_path: Path) -> None:
    folder = tmp_path / "encoder.mlpackage"
    (folder / "Data").mkdir(parents=True)
    (folder / "Data" / "weights").write_bytes(b"12")
    first = sha256(folder)
    assert file_record(tmp_path, Path("encoder.mlpackage")).bytes == 2
    (folder / "Data" / "weights").write_bytes(b"13")
    second = sha256(folder)
    (folder / "Data" / "weights").rename(folder / "Data" / "other")
    assert len({first, second, sha256(folder)}) == 3


class TestWriting:
    def test_nothing_is_left_after_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(KeyboardInterrupt), new_bundle(tmp_path / "b") as folder:
            (folder / "encoder.onnx").write_bytes(b"half")
            raise KeyboardInterrupt
        assert list(tmp_path.iterdir()) == []

    def test_an_earlier_bundle_survives_an_error(self, bundle: Path) -> None:
        before = sha256(bundle)
        with pytest.raises(RuntimeError), new_bundle(bundle):
            raise RuntimeError
        assert sha256(bundle) == before
        assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]

    def test_an_earlier_bundle_is_replaced_with_how_it_was_tuned(self, bundle: Path) -> None:
        (bundle / "tune.json").touch()
        (bundle / "tune.html").touch()
        with new_bundle(bundle) as folder:
            (folder / MANIFEST).write_text("new")
            assert (bundle / "encoder.onnx").exists()
        assert [path.name for path in bundle.iterdir()] == [MANIFEST]
        assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]

    @pytest.mark.parametrize(
        "name", ["notes.txt", "notes/mine.txt", ".hidden", "encoder.onnx.data"]
    )
    def test_what_the_manifest_does_not_list_is_never_removed(
        self, bundle: Path, name: str
    ) -> None:
        (bundle / name).parent.mkdir(exist_ok=True)
        (bundle / name).write_text("mine")
        with pytest.raises(InputError, match=f"holds '{name}'"), new_bundle(bundle):
            pass
        assert (bundle / name).read_text() == "mine"

    def test_what_comes_while_it_is_written_is_not_removed_either(self, bundle: Path) -> None:
        with pytest.raises(InputError, match=r"holds 'late\.txt'"), new_bundle(bundle):
            (bundle / "late.txt").touch()
        assert (bundle / "late.txt").exists()

    @pytest.mark.parametrize("manifest", [None, "{}", "[]", '{"schema_version": 1}'])
    def test_a_folder_of_something_else_is_left_alone(
        self, tmp_path: Path, manifest: str | None
    ) -> None:
        (tmp_path / "photos").mkdir()
        (tmp_path / "photos" / "one.jpg").write_bytes(b"1")
        if manifest is not None:
            (tmp_path / "photos" / MANIFEST).write_text(manifest)
        with pytest.raises(InputError, match="not a bundle"), new_bundle(tmp_path / "photos"):
            pass
        assert (tmp_path / "photos" / "one.jpg").read_bytes() == b"1"

    def test_a_file_is_no_bundle(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")
        with pytest.raises(InputError, match="not a bundle"), new_bundle(tmp_path / "file"):
            pass
        assert (tmp_path / "file").read_text() == "mine"

    def test_an_empty_folder_is_taken(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        with new_bundle(tmp_path / "empty") as folder:
            (folder / MANIFEST).touch()
        assert (tmp_path / "empty" / MANIFEST).exists()

    @pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
    @pytest.mark.parametrize("field", ["verification", "config"])
    def test_a_manifest_that_could_not_be_read_again_is_not_written(
        self, bundle: Path, number: float, field: str
    ) -> None:
        before = (bundle / MANIFEST).read_bytes()
        manifest = Bundle.open(bundle).manifest
        record = msgspec.structs.replace(manifest.verification, logits_max_error=number)
        change = {"verification": record, "config": {"deep": [{"number": number}]}}
        with pytest.raises(BundleError, match=f"is {number}; expected a finite number"):
            write_manifest(bundle, msgspec.structs.replace(manifest, **{field: change[field]}))
        assert (bundle / MANIFEST).read_bytes() == before

    def test_an_output_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with (
            pytest.raises(InputError, match="cannot be written"),
            new_bundle(tmp_path / "file" / "bundle"),
        ):
            pass


def test_a_part_of_a_bundle_is_not_a_model(small_bundle: Path) -> None:
    for open_it in (SAM, YOLO, class_of):
        with pytest.raises(InputError, match=r"is a part of the bundle .*; pass the bundle's"):
            open_it(small_bundle / "encoder.onnx")
