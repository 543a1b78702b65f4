"""What a YOLO model is, read from ONNX files and manifests that others wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest

from samdeploy import YOLO, BundleError, InputError
from samdeploy.opening import class_of
from samdeploy.yolo.metadata import YoloFacts, read_onnx_facts, read_onnx_metadata

WRITTEN = {
    "description": "Ultralytics YOLOv8n-seg model",
    "license": "AGPL-3.0 License (https://ultralytics.com/license)",
    "stride": "32",
    "task": "segment",
    "batch": "1",
    "imgsz": "[96, 128]",
    "names": "{0: 'person', 7: \"traveller's bag\"}",
    "args": "{'batch': 1, 'nms': False}",
    "end2end": "False",
}


def write(path: Path, **changes: Any) -> Path:
    """An ONNX file with Ultralytics' metadata and a graph of one operator."""
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("ReduceMax", ["images"], ["output0"], axes=[1], keepdims=0)],
        "graph",
        [value("images", onnx.TensorProto.FLOAT, [1, 3, 96, 128])],
        [value("output0", onnx.TensorProto.FLOAT, [1, 96, 128])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 10
    onnx.helper.set_model_props(
        model, {name: text for name, text in {**WRITTEN, **changes}.items() if text is not None}
    )
    onnx.save(model, path)
    return path


def test_metadata_are_read_without_the_graph(tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx")
    assert read_onnx_metadata(path) == WRITTEN
    assert read_onnx_facts(path) == YoloFacts(
        "segmenter", {0: "person", 7: "traveller's bag"}, 32, (96, 128)
    )


def test_a_list_of_names_and_one_side(tmp_path: Path) -> None:
    facts = read_onnx_facts(
        write(tmp_path / "model.onnx", names="['a', 'b']", imgsz="64", task="detect")
    )
    assert facts == YoloFacts("detector", {0: "a", 1: "b"}, 32, (64, 64))


def test_facts_survive_a_manifest_and_metadata(tmp_path: Path) -> None:
    facts = read_onnx_facts(write(tmp_path / "model.onnx"))
    assert YoloFacts.from_config(facts.to_config(), tmp_path) == facts
    assert read_onnx_facts(write(tmp_path / "again.onnx", **facts.to_metadata())) == facts


def test_metadata_are_not_evaluated(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    path = write(
        tmp_path / "model.onnx", names=f"__import__('pathlib').Path({str(trap)!r}).touch()"
    )
    with pytest.raises(BundleError, match="does not say what YOLO model it is"):
        read_onnx_facts(path)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"names": None}, "does not say what YOLO model it is"),
        ({"names": "{}"}, "has no class names"),
        ({"names": "{'x': 'y'}"}, "does not say what YOLO model it is"),
        ({"names": "(" * 5000}, "does not say what YOLO model it is"),
        ({"imgsz": "[1, 2, 3]"}, "does not say what YOLO model it is"),
        ({"imgsz": "1e999"}, "does not say what YOLO model it is"),
        ({"imgsz": "[1e999, 32]"}, "does not say what YOLO model it is"),
        ({"imgsz": "True"}, "True is no whole number"),
        ({"imgsz": "[64.5, 64]"}, "64.5 is no whole number"),
        ({"imgsz": "1" + "0" * 400}, "does not say what YOLO model it is"),
        ({"stride": "1e999"}, "does not say what YOLO model it is"),
        ({"stride": "nan"}, "does not say what YOLO model it is"),
        ({"stride": "[[[32]]]"}, "does not say what YOLO model it is"),
        ({"names": "{1e999: 'a'}"}, "does not say what YOLO model it is"),
        ({"names": "{0: 'a', '0': 'b'}"}, "classes are"),
        ({"names": "{-1: 'a'}"}, "classes are"),
        ({"names": "[" * 300_000}, "does not say what YOLO model it is"),
        ({"names": "-" * 100_000 + "1"}, "does not say what YOLO model it is"),
        ({"names": "[" + "0," * 600_000 + "]"}, "does not say what YOLO model it is"),
        ({"task": "['segment']"}, "does not say what YOLO model it is"),
        ({"stride": "0"}, "has stride 0 and imgsz"),
        ({"stride": "1000000000"}, "expected pixels from 1 to 8192"),
        ({"imgsz": "[1000000, 1000000]"}, "expected pixels from 1 to 8192"),
        ({"imgsz": "1e999"}, "does not say what YOLO model it is"),
        ({"stride": "1e999"}, "does not say what YOLO model it is"),
        ({"names": "{1e999: 'x'}"}, "does not say what YOLO model it is"),
        ({"task": "pose"}, "is a YOLO model for 'pose'; expected one of detect, segment"),
        ({"args": "{'nms': True}"}, "does non-maximum suppression inside the graph"),
        ({"end2end": "True"}, "does non-maximum suppression inside the graph"),
    ],
)
def test_what_cannot_be_used(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    path = write(tmp_path / "model.onnx", **changes)
    with pytest.raises(BundleError, match=sentence):
        read_onnx_facts(path)


@pytest.mark.parametrize("content", [b"no onnx at all", b"\xff" * 40, b"\x72\x7f"])
def test_no_onnx_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"is not an ONNX file or is truncated|does not say"):
        YOLO(path)


def test_a_truncated_file(tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BundleError, match="is not an ONNX file or is truncated"):
        read_onnx_facts(path)


def test_a_graph_that_is_not_its_task(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"the segmenter graph has outputs \['output0'\]"):
        YOLO(write(tmp_path / "model.onnx"))
    with (
        YOLO(write(tmp_path / "model.onnx", task="detect")) as opened,
        pytest.raises(BundleError, match="nms=False"),
    ):
        opened.detect(tmp_path_image(tmp_path))


def tmp_path_image(folder: Path) -> Path:
    from PIL import Image

    path = folder / "image.png"
    Image.new("RGB", (40, 30)).save(path)
    return path


def test_what_is_no_yolo_model(tmp_path: Path, small_bundle: Path) -> None:
    with pytest.raises(InputError, match=r"open it with samdeploy\.SAM"):
        YOLO(small_bundle)
    with pytest.raises(InputError, match=r"neither a bundle nor an \.onnx file"):
        YOLO("mine.pt")
    with pytest.raises(InputError, match=r"^'yolov8n\.pt' is not here.*AGPL-3\.0.*trust=True"):
        YOLO("yolov8n.pt")
    assert class_of("yolov8n.pt").__name__ == "SAM"
    assert class_of(small_bundle).__name__ == "SAM"
    assert class_of(write(tmp_path / "a.onnx")).__name__ == "YOLO"
    assert class_of(write(tmp_path / "b.onnx", names="{0: 'object'}")).__name__ == "FastSAM"
