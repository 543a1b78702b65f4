"""Settings, suppression, prompts and the façade, on stored answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samdeploy import SAM, YOLO, BundleError, FastSAM, InputError, Masks, Prompt
from samdeploy.bundle import Bundle, read_manifest, write_manifest
from samdeploy.checked import CheckedSession
from samdeploy.masks.rle import Rle
from samdeploy.yolo.decode import decode
from samdeploy.yolo.detector import YoloDetector, open_detector
from samdeploy.yolo.metadata import YoloFacts
from samdeploy.yolo.prompting import select_masks
from samdeploy.yolo.settings import YoloSettings
from tests.yolo.conftest import Answering, Stored, answering


def head(*rows: tuple[float, ...]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Rows of centre x, centre y, width, height and two class scores as a head's answer."""
    return np.array(rows, np.float32).T


OVERLAPPING = head(
    (50, 50, 40, 40, 0.9, 0.1),
    (52, 50, 40, 40, 0.8, 0.1),
    (51, 50, 40, 40, 0.1, 0.7),
    (10, 10, 8, 8, 0.3, 0.25),
)


@pytest.mark.parametrize(
    ("settings", "scores"),
    [
        ({}, [0.9, 0.7, 0.3]),
        ({"iou": 0.95}, [0.9, 0.8, 0.7, 0.3]),
        ({"agnostic_nms": True}, [0.9, 0.3]),
        ({"classes": [1]}, [0.7]),
        ({"classes": 0, "max_det": 1}, [0.9]),
        ({"conf": 0.3}, [0.9, 0.7]),  # not above its own score
        ({"conf": 0.95}, []),
    ],
)
def test_which_boxes_stay(settings: dict[str, Any], scores: list[float]) -> None:
    found, coefficients = decode(OVERLAPPING, 2, YoloSettings(**settings))
    np.testing.assert_allclose(found.scores, scores)
    assert coefficients.shape == (len(scores), 0)
    if settings == {}:
        np.testing.assert_allclose(found.boxes[0], [30, 30, 70, 70])
        assert found.classes.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"conf": 1.5}, "conf=1.5; expected a number from 0 to 1"),
        ({"iou": float("nan")}, "iou=nan"),
        ({"max_det": 0}, "max_det=0; expected a whole number from 1 to 100,000"),
        ({"classes": [0.5]}, "classes=0.5; expected a whole number from 0"),
        ({"classes": 10**9}, "classes=1000000000; expected a whole number from 0 to 1,000,000"),
        ({"classes": 0.5}, "classes=0.5; expected class ids"),
        ({"max_det": 10**9}, "max_det=1000000000; expected a whole number from 1 to 100,000"),
        ({"imgsz": 10**9}, "imgsz=1000000000; expected a whole number from 1 to 8,192"),
        ({"classes": "person"}, "classes='person'"),
        ({"imgsz": 0}, "imgsz=0"),
        ({"agnostic_nms": 1}, "agnostic_nms=1; expected True or False"),
        ({"max_dets": 5}, "unknown setting 'max_dets' of a YOLO model; did you mean 'max_det'"),
    ],
)
def test_bad_settings(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        YoloSettings.from_names(settings)


def test_settings_by_other_names() -> None:
    chosen = YoloSettings.from_names({"conf_thres": 0.1, "nms_thresh": 0.2}, {"conf": 0.4})
    assert (chosen.conf, chosen.iou) == (0.1, 0.2)


def squares() -> Masks:
    """Left half, right half, a centre square, and a corner."""
    masks = np.zeros((4, 20, 40), bool)
    masks[0, :, :20] = masks[1, :, 20:] = masks[2, 5:15, 10:30] = masks[3, :4, :4] = True
    return Masks.from_rles(
        [Rle.encode(mask) for mask in masks], (20, 40), [0.9, 0.8, 0.7, 0.6],
        classes=[0, 0, 1, 5], names={0: "half", 1: "square"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("prompts", "scores", "whose"),
    [
        ([Prompt([15, 10])], [0.9, 0.7], [0, 0]),
        ([Prompt([[15, 10], [25, 10]], [1, 0])], [0.9], [0]),
        ([Prompt([[15, 10], [39.9, 19.9]])], [0.9, 0.8, 0.7], [0, 0, 0]),
        ([Prompt([15, 10], [0])], [0.8, 0.6], [0, 0]),
        ([Prompt([40, 20])], [0.8], [0]),  # the far corner is the last pixel's
        ([Prompt(box=[10, 5, 30, 15])], [0.7], [0]),
        ([Prompt(box=[0, 0, 5, 5]), Prompt(box=[21, 0, 40, 20])], [0.6, 0.8], [0, 1]),
        ([Prompt([5, 18], box=[10, 5, 30, 15])], [0.9], [0]),
        ([Prompt([[15, 10], [15, 10]], [1, 0])], [], []),
    ],
)
def test_prompts(prompts: list[Prompt], scores: list[float], whose: list[int]) -> None:
    chosen = select_masks(squares(), prompts)
    np.testing.assert_allclose(chosen.scores, scores)
    assert chosen.prompt_index.tolist() == whose


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        (Prompt(), "without points and box"),
        (Prompt([50, 10]), r"point \(50, 10\) is outside the image"),
        (Prompt(box=[5, 5, 5, 9]), "has no area"),
        (Prompt([1, 1], [2]), "expected 1 .foreground. or 0"),
        (Prompt([1, 1], mask=np.ones((20, 40), bool)), "FastSAM takes points and boxes"),
    ],
)
def test_bad_prompts(prompt: Prompt, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        select_masks(squares(), [prompt])


def test_masks_carry_classes(tmp_path: Path) -> None:
    masks = squares()[[3, 1, 2]]
    assert masks.classes is not None and masks.classes.tolist() == [5, 0, 1]
    assert [masks.class_name(i) for i in range(3)] == ["5", "half", "square"]
    assert masks[masks.scores > 0.65].classes.tolist() == [0, 1]
    record = masks.to_json()["masks"]
    assert [(entry["class"], entry["name"]) for entry in record] == [
        (5, "5"), (0, "half"), (1, "square"),
    ]  # fmt: skip
    assert [line.split()[0] for line in masks.to_yolo()] == ["5", "0", "1"]
    image = np.full((20, 40, 3), 90, np.uint8)
    plain = Masks.from_rles(masks.rles, (20, 40), masks.scores)
    assert plain.class_name(0) == "" and "class" not in plain.to_json()["masks"][0]
    assert (masks.plot(image) != plain.plot(image)).any()  # the names are drawn


def test_a_detector(fastsam: Stored) -> None:
    detector = YoloDetector(fastsam.model, YoloSettings(conf=0.3, max_det=5))
    found = detector(fastsam.image)
    assert detector.names == {0: "object"}
    assert found.boxes.shape == (5, 4) and found.boxes.dtype == np.float32
    assert found.scores.dtype == np.float32 and found.classes.dtype == np.int64
    assert len(found[np.array([True, False, False, True, False])]) == 2
    height, width = fastsam.image.shape[:2]
    assert (found.boxes >= 0).all() and (found.boxes <= [width, height] * 2).all()
    with pytest.raises(InputError, match="imgsz=640; 'stored' was exported for 96"):
        YoloDetector(fastsam.model, YoloSettings(imgsz=640))(fastsam.image)
    with pytest.raises(InputError, match="conf=2"):
        open_detector("anything", conf=2)


@pytest.mark.parametrize(
    ("asked", "any_size", "used"),
    [
        ({}, True, None),
        ({"usual_imgsz": 640}, True, 640),
        ({"imgsz": 128, "usual_imgsz": 640}, True, 128),
        ({"usual_imgsz": 640}, False, None),
        ({"imgsz": 96}, False, 96),
    ],
)
def test_the_size_of_a_detector(
    fastsam: Stored,
    monkeypatch: pytest.MonkeyPatch,
    asked: dict[str, int],
    any_size: bool,
    used: int | None,
) -> None:
    model = fastsam.model
    if any_size:
        answers = model.session._session.run({})
        sides: Any = ("height", "width")
        session = CheckedSession(Answering(sides, answers), model.facts.role)
        model = replace(model, session=session)
    monkeypatch.setattr("samdeploy.yolo.detector.open_yolo", lambda *_, **__: model)
    assert open_detector("stored", **asked)._settings.imgsz == used
    if not any_size:
        with pytest.raises(InputError, match="imgsz=128; 'stored' was exported for 96, leave it"):
            open_detector("stored", imgsz=128)


def test_a_head_of_other_classes(fastsam: Stored) -> None:
    facts = YoloFacts("segmenter", {0: "a", 1: "b"}, 32, (96, 96))
    model = answering(facts, fastsam.model.session._session.run({}))
    with pytest.raises(BundleError, match=r"expected \[1, 38, places\] for 2 classes"):
        model.detect(fastsam.image, YoloSettings())


@pytest.fixture
def opened(fastsam: Stored, monkeypatch: pytest.MonkeyPatch) -> FastSAM:
    monkeypatch.setattr("samdeploy.yolo.facade.open_yolo", lambda *_, **__: fastsam.model)
    return FastSAM("stored")


def test_the_facade(opened: FastSAM, fastsam: Stored, tmp_path: Path) -> None:
    [everything] = opened(fastsam.image[..., ::-1].copy())
    assert (everything.scores > 0.4).all() and everything.names == {0: "object"}
    assert len(opened.generate(fastsam.image, conf=0.3)) > len(everything)
    path = tmp_path / "scene.png"
    Image.fromarray(fastsam.image).save(path)
    [chosen] = opened(path, points=[40, 30], labels=[1])
    assert 0 < len(chosen) < len(everything)
    assert chosen.data[:, 30, 40].all()
    both = opened.predict(path, prompts=[Prompt([40, 30]), Prompt(box=[10, 10, 60, 60])])
    assert both.prompt_index.tolist() == [0] * len(chosen) + [1]
    assert opened.info(verbose=False)["task"] == "segment"
    with pytest.raises(InputError, match="give one form"):
        opened.predict(path, points=[1, 1], prompts=Prompt([1, 1]))
    with pytest.raises(InputError, match="unknown setting 'points_stride'"):
        opened(path, points_stride=4)
    steps: list[tuple[int, int]] = []
    opened.generate(path, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(1, 1)]


def test_families_of_bundles(small_bundle: Path, tmp_path: Path) -> None:
    import shutil

    import msgspec

    folder = tmp_path / "bundle"
    shutil.copytree(small_bundle, folder)
    manifest = read_manifest(folder)
    assert manifest.family == "sam"
    for family, sentence in (
        ("yolo", "has no detector graph"),
        ("fastsam", "has no segmenter graph"),
        ("rnn", "family 'rnn', this samdeploy knows yolo, fastsam, sam"),
    ):
        write_manifest(folder, msgspec.structs.replace(manifest, family=family))
        with pytest.raises(BundleError, match=sentence):
            Bundle.open(folder)
    # A manifest from before there were families is one of SAM.
    content = json.loads((folder / "bundle.json").read_text())
    del content["family"]
    (folder / "bundle.json").write_text(json.dumps(content))
    SAM(folder).close()


def test_multimask_is_refused() -> None:
    with pytest.raises(InputError, match="multimask is for SAM"):
        YOLO.check(True, True, {})
