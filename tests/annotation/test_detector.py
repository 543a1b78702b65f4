"""From a detector's graph to labels: every mask keeps the class of its box."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from samdeploy import SAM, InputError, auto_annotate
from samdeploy.scenes import Scene, generate_scene
from samdeploy.yolo.graphs import DETECTOR
from samdeploy.yolo.metadata import YoloFacts
from tests.annotation.conftest import box_of, tree
from tests.yolo.conftest import Stored, answering, write_onnx

pytestmark = pytest.mark.exporting

SIZE = (192, 256)
FACTS = YoloFacts(DETECTOR, {0: "cup", 1: "plate", 2: "spoon"}, 32, (192, 256))


@pytest.fixture(scope="module")
def scene() -> Scene:
    return generate_scene(12, SIZE)


def class_of(number: int) -> int:
    return number % 3


@pytest.fixture
def detector(scene: Scene, tmp_path: Path) -> Path:
    """An ONNX file as Ultralytics exports them, that sees the objects of ``scene`` in any image.

    Object ``k`` is of class ``k % 3``. Before each comes what must not shift the classes: a worse
    duplicate, a box that nobody is sure of, and one without area.
    """
    boxes, scores = [], []
    for number, mask in enumerate(scene.masks):
        box = np.array(box_of(mask), np.float32)
        for change, score in ((3, 0.6), (0, 0.1), (0, 0.9)):
            boxes.append(box + change)
            scores.append(np.eye(3, dtype=np.float32)[class_of(number)] * score)
        boxes.append(np.array([9, 9, 9, 9], np.float32))
        scores.append(np.eye(3, dtype=np.float32)[(number + 1) % 3] * 0.8)
    corners = np.array(boxes)
    sides = corners[:, 2:] - corners[:, :2]
    output = np.concatenate([(corners[:, :2] + sides / 2), sides, np.array(scores)], axis=1)
    model = answering(FACTS, {"output0": output.T[None].astype(np.float32)})
    return write_onnx(tmp_path / "yolov8n.onnx", Stored(model, scene.image, [], {}))


@pytest.fixture
def images(scene: Scene, tmp_path: Path) -> Path:
    """The scene in three exposures."""
    folder = tmp_path / "images"
    folder.mkdir()
    for index, share in enumerate((1.0, 0.9, 0.8)):
        picture = (scene.image * share).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{index}.png")
    return folder


def read(label: Path) -> list[tuple[int, np.ndarray]]:
    """Class and mask of each line."""
    found = []
    for line in label.read_text().splitlines():
        number, *values = line.split()
        points = np.array(values, np.float64).reshape(-1, 2) * SIZE[::-1]
        mask = np.zeros(SIZE, np.uint8)
        cv2.fillPoly(mask, [points.astype(np.int32)], 1)
        found.append((int(number), mask.astype(bool)))
    return found


def best(mask: np.ndarray, truth: np.ndarray) -> tuple[int, float]:
    """Which of the true masks ``mask`` is, and their IoU."""
    ious = [(mask & one).sum() / (mask | one).sum() for one in truth]
    return int(np.argmax(ious)), float(max(ious))


def test_classes_are_carried(
    scene: Scene, detector: Path, images: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    arguments: dict[str, Any] = {"det_model": detector, "sam_model": tiny_bundle, "imgsz": 256}
    summary = auto_annotate(images, output_dir=tmp_path / "all", **arguments)
    assert dict(summary.failed) == {}
    ious = []
    for index in range(3):
        found = read(tmp_path / "all" / f"{index}.txt")
        assert len(found) == len(scene.masks)
        for number, mask in found:
            which, iou = best(mask, scene.masks)
            ious.append(iou)
            if iou > 0.5:
                assert number == class_of(which)
    assert np.median(ious) > 0.6  # so most were compared
    names = (tmp_path / "all" / "data.yaml").read_text()
    assert '0: "cup"' in names and '2: "spoon"' in names

    # Masks below the median area go, and so does a class: the others keep theirs.
    least = int(np.median([mask.sum() for _, mask in read(tmp_path / "all" / "0.txt")]))
    auto_annotate(images, output_dir=tmp_path / "some", classes=[0, 2], min_area=least, **arguments)
    some = read(tmp_path / "some" / "0.txt")
    assert 0 < len(some) < len(scene.masks)
    for number, mask in some:
        which, iou = best(mask, scene.masks)
        assert number in (0, 2)
        assert number == class_of(which) or iou <= 0.5


def test_a_detector_of_a_fixed_size(
    detector: Path, images: Path, fake: SAM, tmp_path: Path
) -> None:
    """It is used as it is; another size that is asked for leaves earlier labels alone."""
    out = tmp_path / "labels"
    arguments: dict[str, Any] = {"det_model": detector, "sam_model": fake, "output_dir": out}
    assert auto_annotate(images, **arguments).failed == {}
    before = tree(out)
    with pytest.raises(InputError, match=r"^imgsz=320; '.*' was exported for 256, leave it out"):
        auto_annotate(images, imgsz=320, **arguments)
    assert tree(out) == before
    assert auto_annotate(images, imgsz=256, **arguments).labelled == 3


def test_the_default_detector_is_not_here(
    monkeypatch: pytest.MonkeyPatch, images: Path, tmp_path: Path
) -> None:
    """The sentence has the commands that help, and the licence."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as raised:
        auto_annotate(images, sam_model="any", runtime="fake")
    assert str(raised.value) == (
        "'yolov8x.pt' is not here, and is not downloaded: get it from Ultralytics, run pip install "
        "'samdeploy[yolo]' (it brings the package ultralytics, which is under AGPL-3.0), then "
        "samdeploy export model=yolov8x.pt trust=True, and give yolov8x_onnx."
    )
    assert not (tmp_path / "labels").exists()
    (tmp_path / "yolov8x.pt").write_bytes(b"a checkpoint")
    with pytest.raises(InputError, match=r"^'yolov8x.pt' is a checkpoint, and what runs is an ex"):
        auto_annotate(images, sam_model="any", runtime="fake")
