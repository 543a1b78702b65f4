"""Our decoding of stored outputs against Ultralytics' own; see ``tools/make_yolo_golden.py``."""

from __future__ import annotations

import json

import numpy as np
import pytest

from samdeploy.prompts import Prompt, collect_prompts
from samdeploy.yolo.prompting import select_masks
from samdeploy.yolo.settings import YoloSettings
from tests.yolo.conftest import GOLDEN, read_stored

RUNS = [
    (path.stem, index)
    for path in sorted(GOLDEN.glob("*.json"))
    for index in range(len(json.loads(path.read_text())["runs"]))
]


def test_there_are_runs() -> None:
    assert {name for name, _ in RUNS} == {"FastSAM-s", "yolo11n-seg", "yolov8n", "yolov8n-seg"}


@pytest.mark.parametrize(("name", "index"), RUNS)
def test_as_ultralytics_decodes(name: str, index: int) -> None:
    stored = read_stored(name)
    run = stored.runs[index]
    settings = YoloSettings(**run["settings"])
    if "prompts" in run:
        masks, _ = stored.model.segment(stored.image, settings)
        if "bboxes" in run["prompts"]:
            prompts = collect_prompts(bboxes=run["prompts"]["bboxes"])
        else:  # all points are one prompt there
            prompts = [Prompt(run["prompts"]["points"], run["prompts"]["labels"])]
        masks = select_masks(masks, prompts)
        # Ultralytics gives what several boxes chose in the order of confidence.
        masks = masks[np.argsort(-masks.scores, kind="stable")]
    else:
        found = stored.model.detect(stored.image, settings)
        if f"{index}.masks" in stored.arrays:
            masks, found = stored.model.segment(stored.image, settings)
            np.testing.assert_array_equal(masks.classes, found.classes)
        expected = stored.arrays[f"{index}.boxes"]
        assert found.boxes.shape == expected.shape
        assert np.abs(found.boxes - expected).max() <= 1e-3
        np.testing.assert_allclose(found.scores, stored.arrays[f"{index}.scores"], atol=1e-6)
        np.testing.assert_array_equal(found.classes, stored.arrays[f"{index}.classes"])
    if f"{index}.masks" in stored.arrays:
        wanted = stored.masks(index)
        assert masks.data.shape == wanted.shape
        assert wanted.any(axis=(1, 2)).all()
        both = np.count_nonzero(masks.data & wanted, axis=(1, 2))
        either = np.count_nonzero(masks.data | wanted, axis=(1, 2))
        assert (both / either).min() >= 0.995
        np.testing.assert_allclose(masks.scores, stored.arrays[f"{index}.scores"], atol=1e-6)
