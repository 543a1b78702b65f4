"""YOLO models as files: ONNX files, bundles, the command line, and what must not be unpickled."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from samdeploy import SAM, YOLO, CheckpointError, FastSAM, InputError, VerificationError, export
from samdeploy.bundle import (
    Bundle,
    GraphRecord,
    TensorRecord,
    VerificationRecord,
    file_record,
    read_manifest,
    write_manifest,
)
from samdeploy.cli.app import main
from samdeploy.exporting.verify import check
from samdeploy.exporting.verify_yolo import verify_yolo
from samdeploy.opening import class_of
from samdeploy.session import Session
from samdeploy.yolo.detector import open_detector
from tests.yolo.conftest import Answering, Stored, read_stored, write_onnx


@pytest.fixture
def file(fastsam: Stored, tmp_path: Path) -> Path:
    return write_onnx(tmp_path / "FastSAM-s.onnx", fastsam)


@pytest.fixture
def picture(fastsam: Stored, tmp_path: Path) -> Path:
    path = tmp_path / "scene.png"
    Image.fromarray(fastsam.image).save(path)
    return path


@pytest.fixture
def bundle(file: Path, fastsam: Stored, small_bundle: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "FastSAM-s_onnx"
    folder.mkdir()
    (folder / "segmenter.onnx").write_bytes(file.read_bytes())
    with FastSAM(file) as opened:
        config = opened._model.facts.to_config()
    graph = GraphRecord(
        "segmenter",
        (file_record(folder, Path("segmenter.onnx")),),
        (TensorRecord("images", (1, 3, 96, 96), "float32"),),
        tuple(
            TensorRecord(name, fastsam.arrays[name].shape, "float32")
            for name in ("output0", "output1")
        ),
    )
    manifest = msgspec.structs.replace(
        read_manifest(small_bundle), family="fastsam", architecture="FastSAM-s", image_size=96,
        graphs=(graph,), config=config,
    )  # fmt: skip
    write_manifest(folder, manifest)
    return folder


def test_a_bundle_and_its_file_answer_alike(
    bundle: Path, file: Path, picture: Path, fastsam: Stored
) -> None:
    assert Bundle.open(bundle).manifest.family == "fastsam"
    with class_of(bundle)(bundle, threads=1) as one, class_of(file)(file) as other:
        assert isinstance(one, FastSAM) and isinstance(other, FastSAM)
        assert one.info(verbose=False)["architecture"] == "FastSAM-s"
        assert one.info(verbose=False)["providers"] == {"segmenter": "CPUExecutionProvider"}
        found, again = one.generate(picture), other.generate(picture)
    assert len(found) > 3
    np.testing.assert_array_equal(found.data, again.data)
    with open_detector(bundle, threads=1) as detector:
        assert len(detector(fastsam.image)) > 3
    with pytest.raises(InputError, match="is a FastSAM-s model and no SAM"):
        SAM(bundle)


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    assert isinstance(end.value.code, int)
    return end.value.code


def test_the_command_line(
    bundle: Path, file: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    given = ("predict", f"source={picture}", f"output={out}")
    assert run(*given, f"model={bundle}", "points=[40,30]", "labels=[1]", "--json") == 0
    [summary] = json.loads(capsys.readouterr().out)
    record = json.loads((out / "scene.json").read_text())
    assert summary["masks"] == len(record["masks"]) > 0
    assert {entry["name"] for entry in record["masks"]} == {"object"}
    assert (out / "scene.png").is_file()
    assert run(*given, f"model={file}", "conf=0.3", "iou=0.8", "max_det=4", "classes=[0]") == 0
    assert "4 masks, best confidence" in capsys.readouterr().out
    assert run("info", f"model={file}") == 0
    assert "segment" in capsys.readouterr().out
    for wrong, sentence in (
        (("points_stride=4",), "unknown setting 'points_stride' of a YOLO model"),
        (("multimask=True", "points=[4,4]"), "multimask is for SAM"),
        (("imgsz=640",), "was exported for 96"),
        (("points=[4000,4]",), "is outside the image"),
    ):
        assert run(*given, f"model={bundle}", *wrong) == 2
        assert sentence in capsys.readouterr().err
    assert run(*given, "model=sam_tiny.pt", "max_det=4") == 2
    assert "unknown setting 'max_det'" in capsys.readouterr().err


class Marks:
    """Unpickling an instance makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_a_checkpoint_is_not_unpickled_unasked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark, checkpoint = tmp_path / "executed", tmp_path / "yolov8n.pt"
    with zipfile.ZipFile(checkpoint, "w") as archive:
        archive.writestr("yolov8n/data.pkl", pickle.dumps(["ultralytics.nn.tasks", Marks(mark)]))
    output = tmp_path / "bundle"
    with pytest.raises(
        CheckpointError, match="executes code that the file holds; export it with trust=True"
    ):
        export(checkpoint, output=output)
    with pytest.raises(InputError, match=r"a yolo model and no SAM; open it with samdeploy\.YOLO"):
        SAM(checkpoint)
    with pytest.raises(InputError, match=r"is a checkpoint, and what runs is .* trust=True"):
        YOLO(checkpoint)
    assert run("export", f"model={checkpoint}", f"output={output}") == 2
    assert "trust=True" in capsys.readouterr().err
    assert not mark.exists() and not output.exists()


def sessions(stored: Stored, shift: float = 0.0) -> dict[str, Session]:
    facts = stored.model.facts
    answers = stored.model.session.run({"images": np.zeros((1, 3, *facts.imgsz), np.float32)})
    moved = {name: value.copy() for name, value in answers.items()}
    moved["output0"][:, :2] += shift
    return {facts.role: Answering(facts.imgsz, moved)}


@pytest.mark.parametrize("name", ["yolov8n", "yolov8n-seg"])
def test_verification(name: str) -> None:
    stored = read_stored(name)
    same = verify_yolo(sessions(stored), sessions(stored))
    assert same.passed and same.detections == 200 and same.box_iou_min == 1
    assert same.mask_iou_mean == (1 if name == "yolov8n-seg" else 0)
    check(same)
    moved = verify_yolo(sessions(stored), sessions(stored, shift=2.0))
    assert not moved.passed and moved.box_iou_mean < 0.99 and moved.score_max_error == 0
    with pytest.raises(VerificationError, match="box IoU mean"):
        check(moved)
    assert verify_yolo(sessions(stored), sessions(stored, 2.0), tolerance=0.5).passed
    assert isinstance(same, VerificationRecord)
