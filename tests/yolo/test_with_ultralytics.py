"""Side by side with Ultralytics, where that is installed (AGPL-3.0; CI does without it):
checkpoints, its own ONNX files, and its own post-processing of our graphs' outputs."""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from samdeploy import YOLO, CheckpointError, FastSAM, InputError, export
from samdeploy.bundle import Bundle
from samdeploy.opening import class_of
from samdeploy.scenes import generate_scene
from samdeploy.yolo.letterbox import Letterbox
from samdeploy.yolo.metadata import read_onnx_facts

pytest.importorskip("ultralytics", reason="ultralytics is not installed")
sys.path.insert(0, str(Path(__file__).parent))

# Ultralytics and the tracer warn about each other and about torch.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

SIDE = 96
MODELS = {
    "yolov8n.pt": ("yolov8n.yaml", None),
    "yolov8n-seg.pt": ("yolov8n-seg.yaml", None),
    "yolo11n-seg.pt": ("yolo11n-seg.yaml", None),
    "FastSAM-s.pt": ("yolov8s-seg.yaml", {0: "object"}),
}


@dataclass
class Made:
    checkpoint: Path
    bundle: Path
    peer: Any


@pytest.fixture(scope="module", params=MODELS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ultralytics_models as peer

        folder = tmp_path_factory.mktemp("yolo")
        model = peer.generated_model(*MODELS[request.param])
        path = folder / request.param
        model.save(path)
        bundle = export(path, output=folder / "bundle", imgsz=SIDE, trust=True)
    return Made(path, bundle, model)


@pytest.fixture
def image() -> NDArray[np.uint8]:
    return generate_scene(5, (150, 220)).image


def post_process(
    opened: YOLO, image: NDArray[np.uint8], prompts: dict[str, Any] | None = None, **settings: Any
) -> Any:
    """Ultralytics' results of the outputs of our session."""
    import ultralytics_models as peer

    session, facts = opened._model.session, opened._model.facts
    letterbox = Letterbox.fit((image.shape[0], image.shape[1]), facts.imgsz)
    outputs = session.run({"images": letterbox.image_to_input(image)})
    return peer.post_process(
        [outputs[name] for name in sorted(outputs)], image, facts.imgsz, dict(facts.names),
        facts.task, None if prompts is None else "fastsam", prompts, **settings,
    )  # fmt: skip


def mask_ious(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> NDArray[np.float64]:
    assert a.shape == b.shape
    both, either = np.count_nonzero(a & b, axis=(1, 2)), np.count_nonzero(a | b, axis=(1, 2))
    return np.asarray(both / np.maximum(either, 1))


def test_the_bundle(made: Made) -> None:
    manifest = Bundle.open(made.bundle).manifest
    record = manifest.verification
    fast = made.checkpoint.stem == "FastSAM-s"
    assert record.passed and record.mode == "error" and record.detections == 200
    assert record.box_iou_mean > 0.9999
    assert (record.mask_iou_mean > 0.9999) == (made.peer.task == "segment")
    assert manifest.family == ("fastsam" if fast else "yolo")
    assert manifest.architecture == made.checkpoint.stem
    assert manifest.image_size == SIDE
    assert "AGPL-3.0" in manifest.source.licence
    assert manifest.tools["ultralytics"]
    assert class_of(made.bundle) is (FastSAM if fast else YOLO)
    [graph] = manifest.graphs
    facts = read_onnx_facts(made.bundle / graph.files[0].path)
    assert dict(facts.names) == made.peer.names and facts.role == graph.role


@pytest.mark.parametrize(
    "settings",
    [
        {"conf": 0.25, "iou": 0.7, "max_det": 60},
        {"conf": 0.05, "iou": 0.45, "max_det": 20},
        {"conf": 0.1, "iou": 0.5, "agnostic_nms": True, "classes": [0, 1, 3, 30]},
    ],
)
def test_decoding(made: Made, image: NDArray[np.uint8], settings: dict[str, Any]) -> None:
    with YOLO(made.bundle) as opened:
        expected = post_process(opened, image, **settings)
        found = opened.detect(image, channel_order="rgb", **settings)
        if made.peer.task == "segment":
            from samdeploy.yolo.settings import YoloSettings

            masks, found = opened._model.segment(image, YoloSettings(**settings))
            assert mask_ious(masks.data, expected.masks).min() >= 0.995
    assert len(expected.boxes) == len(found) > 0
    assert np.abs(found.boxes - expected.boxes).max() <= 1e-3
    np.testing.assert_array_equal(found.classes, expected.classes)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)


def test_the_whole_way(made: Made, image: NDArray[np.uint8], tmp_path: Path) -> None:
    """Ultralytics' ONNX file in Ultralytics' predictor, and in ours."""
    import ultralytics

    dynamic = made.checkpoint.stem == "yolov8n-seg"
    checkpoint = tmp_path / made.checkpoint.name
    checkpoint.write_bytes(made.checkpoint.read_bytes())
    file = ultralytics.YOLO(checkpoint).export(
        format="onnx", imgsz=SIDE, simplify=False, dynamic=dynamic, opset=17
    )
    settings = {"conf": 0.2, "iou": 0.6, "max_det": 30}
    [result] = ultralytics.YOLO(file, task=made.peer.task).predict(
        np.ascontiguousarray(image[..., ::-1]), imgsz=SIDE, retina_masks=True, verbose=False,
        **settings,
    )  # fmt: skip
    with class_of(file)(file) as opened:
        assert isinstance(opened, YOLO)
        assert opened.names == made.peer.names
        found = opened.detect(image, channel_order="rgb", **settings)
        if made.peer.task == "segment":
            [masks] = opened(image[..., ::-1].copy(), **settings)
            assert mask_ious(masks.data, result.masks.data.numpy() > 0).min() >= 0.995
            assert [masks.class_name(i) for i in range(len(masks))] == [
                result.names[int(number)] for number in result.boxes.cls
            ]
        else:
            assert np.abs(found.boxes - result.boxes.xyxy.numpy()).max() <= 1e-3
            with pytest.raises(InputError, match="finds boxes and no masks"):
                opened(image)


def test_prompts(made: Made, image: NDArray[np.uint8]) -> None:
    if made.checkpoint.stem != "FastSAM-s":
        pytest.skip("no FastSAM")
    settings = {"conf": 0.1, "iou": 0.9, "max_det": 60}
    cases: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"bboxes": [[20, 20, 140, 110]]}, {"bboxes": [20, 20, 140, 110]}),
        ({"points": [[60, 70]]}, {"points": [60, 70]}),
        (
            {"points": [[60, 70], [150, 100]], "labels": [1, 0]},
            {"points": [[[60, 70], [150, 100]]], "labels": [[1, 0]]},
        ),
    ]
    with FastSAM(made.bundle) as opened:
        for theirs, ours in cases:
            expected = post_process(opened, image, theirs, **settings)
            masks = opened.predict(image, channel_order="rgb", **ours, **settings)
            assert len(masks) == len(expected.masks) > 0
            assert mask_ious(masks.data, expected.masks).min() >= 0.995


def test_nothing_is_unpickled_unasked(made: Made, tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match="executes code that the file holds; export it with trust=True"
    ):
        export(made.checkpoint, output=tmp_path / "bundle", imgsz=SIDE)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="multiple of the network's stride 32"):
        export(made.checkpoint, output=tmp_path / "bundle", imgsz=100, trust=True)
