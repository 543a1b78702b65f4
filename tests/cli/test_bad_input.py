"""Bad input of every kind: exit code 2, one sentence on standard error, nothing written."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

FAKE = ("model=anything", "runtime=fake")


@pytest.fixture
def refused(cli: Callable[..., Any], tmp_path: Path) -> Callable[..., str]:
    """Run a command that must be refused; the sentence is returned."""

    def call(*arguments: object, match: str) -> str:
        before = sorted(tmp_path.rglob("*"))
        outcome = cli(*arguments)
        assert outcome.code == 2, outcome
        assert re.fullmatch(r"error: \S[^\n]*[.?]\n", outcome.err), outcome.err
        assert "Traceback" not in outcome.err + outcome.out
        assert re.search(match, outcome.err), outcome.err
        assert sorted(tmp_path.rglob("*")) == before, "something was left behind"
        return str(outcome.err)

    return call


@pytest.fixture
def bundle(small_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_bundle, tmp_path / "bundle"))


class TestImages:
    def test_missing(self, refused: Callable[..., str]) -> None:
        refused("predict", *FAKE, "source=nowhere.png", match="'nowhere.png' does not exist")

    @pytest.mark.parametrize("content", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n broken"])
    def test_unreadable(self, refused: Callable[..., str], tmp_path: Path, content: bytes) -> None:
        (tmp_path / "bad.png").write_bytes(content)
        refused(
            "predict", *FAKE, "source=bad.png", "points=[1,1]", match="'bad.png' cannot be read"
        )

    def test_truncated(self, refused: Callable[..., str], picture: Path) -> None:
        picture.write_bytes(picture.read_bytes()[:2000])
        refused("predict", *FAKE, f"source={picture}", match="cannot be read")

    def test_empty_folder(self, refused: Callable[..., str], tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        refused("predict", *FAKE, "source=empty", match="'empty' holds no images")

    def test_pattern_without_matches(self, refused: Callable[..., str]) -> None:
        refused("predict", *FAKE, "source=*.jpg", match=r"'\*.jpg' matches no image")

    def test_unreadable_video(self, refused: Callable[..., str], tmp_path: Path) -> None:
        (tmp_path / "bad.mp4").write_bytes(b"no video")
        refused("predict", *FAKE, "source=bad.mp4", match="no readable frame")

    def test_empty_source(self, refused: Callable[..., str]) -> None:
        refused("predict", *FAKE, "source=", match="'source' has no value")


@pytest.mark.parametrize(
    ("prompts", "match"),
    [
        (["points=[[1,2],[3,4]]", "labels=[1]"], "1 labels for 2 prompts"),
        (["points=[[[1,2],[3,4]]]", "labels=[[1,0,1]]"], "3 labels for 2 points"),
        (["labels=[1]"], "without points"),
        (["points=[1,2]", "labels=[5]"], "expected 1 .* or 0"),
        (["points=[1,2,3]"], r"expected \[x, y\]"),
        (["points=hello"], "points=hello; expected numbers"),
        (["points=[[1,2]"], "expected numbers"),
        (["points=[]"], "empty list"),
        (["points=[true,1]"], "expected numbers"),
        (["points=[nan,2]"], "not finite"),
        (["points=[1,Infinity]"], "not finite"),
        (["points=[241,2]"], "outside the image"),
        (["points=[-1,2]"], "outside the image"),
        (["bboxes=[50,10,50,60]"], "50, 10, 50, 60"),
        (["bboxes=[50,60,90,10]"], "50, 60, 90, 10"),
        (["bboxes=[50,10,90,nan]"], "not finite"),
        ([f"points=[{10**400},1]"], "expected numbers"),
        ([f"bboxes=[1,1,9,{10**400}]"], "expected numbers"),
        (["points=[1e999,2]"], "not finite"),
        (["bboxes=[50,10,242,60]"], "outside the image"),
        (["bboxes=[50,10,90]"], "expected .x1, y1, x2, y2."),
        (["bboxes=[[1,1,9,9],[2,2,8,8]]", "points=[1,1]"], "cannot be paired"),
        (["masks=nowhere.png"], "'nowhere.png' does not exist"),
        (["masks=small.png"], "mask"),
        (["points=[1,2]", "points_stride=4"], "points_stride"),
        (["multimask=True"], "multimask"),
        (["points_stride=0"], "points_stride=0"),
        (["conf_thres=2"], "conf_thres=2"),
        (["conf=much"], "conf_thres=much; expected a number"),
        (["crop_n_layers=40"], "crop_n_layers=40; expected a whole number from 0 to 6"),
        (["points_stride=100000"], "points_stride=100000; expected a whole number from 1 to 1,000"),
        (["threads=100000"], "threads=100000; expected a whole number from 1 to "),
        (["streams=100000"], "streams=100000; expected a whole number from 1 to 256"),
        (["imgsz=100000"], "imgsz=100000; expected a whole number from 1 to 8,192"),
        (["threads=x", "points=[1,1]"], "threads=x; expected a whole number"),
    ],
)
def test_prompts_and_settings(
    refused: Callable[..., str], picture: Path, tmp_path: Path, prompts: list[str], match: str
) -> None:
    Image.fromarray(np.full((7, 9), 255, np.uint8)).save(tmp_path / "small.png")
    refused("predict", *FAKE, f"source={picture}", *prompts, match=match)


class TestCheckpoints:
    def test_unknown_name(self, refused: Callable[..., str]) -> None:
        refused("export", "model=sam_tinny.pt", match="did you mean 'sam_tiny.pt'")

    @pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
    @pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
    def test_truncated(
        self,
        refused: Callable[..., str],
        tmp_path: Path,
        small_checkpoint: Path,
        suffix: str,
        share: float,
    ) -> None:
        whole = tmp_path / f"whole{suffix}"
        if suffix == ".pt":
            torch.save({"image_encoder.x": torch.zeros(1000)}, whole)
        else:
            shutil.copy(small_checkpoint, whole)
        content = whole.read_bytes()
        whole.write_bytes(content[: int(share * len(content))])
        refused("export", f"model={whole}", match=f"whole{suffix}")

    @pytest.mark.parametrize("content", [[1, 2, 3], {"epoch": 3}, {}, "text", os.getcwd])
    def test_a_pickle_that_is_no_state_dict(
        self, refused: Callable[..., str], tmp_path: Path, content: object
    ) -> None:
        (tmp_path / "some.pt").write_bytes(pickle.dumps(content))
        refused("export", "model=some.pt", match=r"'some.pt'")

    def test_code_in_a_pickle_never_runs(self, refused: Callable[..., str], tmp_path: Path) -> None:
        class Bomb:
            def __reduce__(self) -> tuple[Any, ...]:
                return os.mkdir, (str(tmp_path / "ran"),)

        torch.save({"model": Bomb()}, tmp_path / "bomb.pt")
        refused("export", "model=bomb.pt", match="never executed")

    def test_a_state_dict_of_something_else(
        self, refused: Callable[..., str], tmp_path: Path
    ) -> None:
        torch.save({"layer.weight": torch.zeros(3)}, tmp_path / "other.pt")
        refused("export", "model=other.pt", match="error: ")

    def test_a_folder(self, refused: Callable[..., str], tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        refused("export", "model=folder", match="is a folder")


class TestNames:
    def test_format(self, refused: Callable[..., str]) -> None:
        refused("export", "model=sam_tiny.pt", "format=onx", match="format 'onx'.*'onnx'")

    def test_runtime(self, refused: Callable[..., str], picture: Path, bundle: Path) -> None:
        refused(
            "predict", f"model={bundle}", f"source={picture}", "runtime=onnxruntme",
            match="runtime 'onnxruntme'.*'onnxruntime'",
        )  # fmt: skip

    @pytest.mark.parametrize("device", ["gpu", "cuda"])
    def test_device(
        self, refused: Callable[..., str], picture: Path, bundle: Path, device: str
    ) -> None:
        refused(
            "predict", f"model={bundle}", f"source={picture}", f"device={device}",
            match=f"device '{device}'",
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("arguments", "match"),
        [
            (["predict", "souce=a.png"], "unknown key 'souce' of 'predict'; did you mean 'source'"),
            (["export", "--frmat", "onnx"], "unknown key 'frmat' .* did you mean 'format'"),
            (["predict", "--pointz=[1,2]"], "did you mean 'points'"),
            (["predict", "qqqqqq=1"], "unknown key 'qqqqqq' .* expected one of model, source"),
            (["predict", "source=a.png"], "'predict' needs model="),
            (["predict"], "'predict' needs model= and source="),
            (["predict", "a.png"], "'a.png' stands alone"),
            (["info", "--model"], "'model' has no value"),
            (["info", "model=a", "json=maybe"], "json=maybe; expected True or False"),
            (["predict", "conf=0.5", "conf_thres=0.6"], "'conf_thres' a second time"),
            (["predct"], "'predct'.*'predict'"),
            (["export", "model=sam_tiny.pt", "verify=maybe"], "verify='maybe'"),
            (["export", "model=sam_tiny.pt", "opset=3"], "opset=3"),
            (["export", "model=sam_tiny.pt", "opset=x"], "opset=x; expected a whole number"),
            (["export", "model=sam_tiny.pt", "tolerance=2"], "tolerance=2"),
            (["export", "model=sam_tiny.pt", "imgsz=100"], "100"),
            (["export", "model=sam_tiny.pt", "config=nowhere.json"], "nowhere.json"),
        ],
    )
    def test_keys_and_values(
        self, refused: Callable[..., str], arguments: list[str], match: str
    ) -> None:
        refused(*arguments, match=match)


class TestBundles:
    def test_changed_byte(self, refused: Callable[..., str], picture: Path, bundle: Path) -> None:
        path = bundle / "decoder.onnx"
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        refused(
            "predict", f"model={bundle}", f"source={picture}", "points=[9,9]",
            match=r"decoder\.onnx' was changed",
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            ({"schema_version": 99}, "schema version 99"),
            ({"schema_version": "one"}, "not a valid manifest"),
            ({"graphs": []}, "length >= 1"),
        ],
    )
    def test_manifest(
        self,
        refused: Callable[..., str],
        picture: Path,
        bundle: Path,
        change: dict[str, Any],
        match: str,
    ) -> None:
        path = bundle / "bundle.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
        refused("predict", f"model={bundle}", f"source={picture}", match=match)
        refused("info", f"model={bundle}", match=match)

    @pytest.mark.parametrize("name", ["../encoder.onnx", "/etc/passwd", "..\\encoder.onnx"])
    def test_path_out_of_the_folder(
        self, refused: Callable[..., str], bundle: Path, name: str
    ) -> None:
        path = bundle / "bundle.json"
        manifest = json.loads(path.read_text())
        manifest["graphs"][0]["files"][0]["path"] = name
        path.write_text(json.dumps(manifest))
        refused("info", f"model={bundle}", match="outside its folder")

    def test_missing_parts(self, refused: Callable[..., str], bundle: Path) -> None:
        (bundle / "encoder.onnx").unlink()
        refused("info", f"model={bundle}", match=r"lacks 'encoder\.onnx'")
        (bundle / "bundle.json").unlink()
        refused("info", f"model={bundle}", match=r"no readable bundle\.json")


class TestOutputs:
    @pytest.fixture
    def read_only(self, tmp_path: Path) -> Path:
        folder = tmp_path / "locked"
        folder.mkdir(0o555)
        if os.access(folder, os.W_OK):  # root may write anywhere but here
            folder = Path("/sys")
        if not folder.is_dir():
            pytest.skip("no folder that this user cannot write to")
        return folder

    def test_predict_into_a_read_only_folder(
        self, refused: Callable[..., str], picture: Path, read_only: Path
    ) -> None:
        for output in (read_only, read_only / "deeper"):
            refused(
                "predict", *FAKE, f"source={picture}", "points=[9,9]", f"output={output}",
                match="cannot be written",
            )  # fmt: skip

    def test_export_into_a_read_only_folder(
        self, refused: Callable[..., str], read_only: Path
    ) -> None:
        refused(
            "export", "model=sam_tiny.pt", f"output={read_only / 'bundle'}",
            match="cannot be written",
        )  # fmt: skip

    def test_a_file_in_the_way(
        self, refused: Callable[..., str], picture: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "taken").write_text("precious")
        prompt = ("predict", *FAKE, f"source={picture}", "points=[9,9]")
        refused(*prompt, "output=taken", match="'taken' cannot be written to")
        refused(*prompt, "output=taken/deeper", match="cannot be written to")
        refused(*prompt, "project=taken", match="'taken' cannot be written to")
        refused("export", "model=sam_tiny.pt", "output=taken", match="taken' exists")
        assert (tmp_path / "taken").read_text() == "precious"

    def test_results_never_overwrite_the_source(
        self, refused: Callable[..., str], picture: Path
    ) -> None:
        refused(
            "predict", *FAKE, f"source={picture}", "points=[9,9]", "output=.", match="overwrite"
        )
