"""Small objects from enlarged parts of the image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samdeploy import SAM, auto_annotate
from samdeploy.annotation.zoom import find_parts, predict_zoomed
from samdeploy.masks.rle import Rle
from tests.annotation.conftest import box_of, make_folder

coordinate = st.floats(0, 1, width=32)


@given(
    st.lists(st.tuples(coordinate, coordinate, coordinate, coordinate), max_size=12),
    st.integers(8, 900),
    st.integers(8, 900),
    st.integers(4, 256),
)
def test_every_box_is_inside_exactly_one_part(
    corners: list[tuple[float, float, float, float]], height: int, width: int, smallest: int
) -> None:
    found = np.array(corners, np.float32).reshape(-1, 2, 2)
    boxes = np.sort(found, axis=1).reshape(-1, 4) * np.float32([width, height, width, height])
    parts = list(find_parts(boxes, (height, width), smallest))
    members = [index for part in parts for index in part.boxes]
    assert sorted(members) == list(range(len(boxes)))
    for part in parts:
        x1, y1, x2, y2 = part.box
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height
        assert min(smallest, width) <= x2 - x1
        inside = boxes[part.boxes]
        # A pixel of room: parts begin and end between pixels.
        assert (inside[:, :2] >= np.array([x1, y1]) - 1).all()
        assert (inside[:, 2:] <= np.array([x2, y2]) + 1).all()


def test_who_shares_a_part() -> None:
    boxes = np.array(
        [[0, 0, 300, 200], [100, 100, 140, 130], [125, 105, 150, 135], [300, 20, 330, 50],
         [110, 110, 118, 118]],
        np.float32,
    )  # fmt: skip
    parts = [(part.box, part.boxes.tolist()) for part in find_parts(boxes, (240, 400), smallest=64)]
    assert parts == [
        ((0, 0, 400, 240), [0]),  # large in the image
        ((80, 75, 160, 155), [1, 2]),  # side by side, and alike
        ((283, 3, 347, 67), [3]),  # elsewhere, enlarged as far as that goes
        ((82, 82, 146, 146), [4]),  # in the first part as well, but a fifth of its box
    ]


def test_masks_and_scores_are_those_of_their_boxes(fake: SAM) -> None:
    image = np.zeros((300, 500, 3), np.uint8)
    boxes = np.array([[400, 40, 420, 70], [20, 20, 420, 280], [40, 200, 64, 216]], np.float32)
    masks = predict_zoomed(fake, image, boxes)
    assert masks.data.shape == (3, 300, 500)
    assert masks.prompt_index.tolist() == [0, 1, 2]
    np.testing.assert_allclose([box_of(mask) for mask in masks.data], boxes, atol=2)
    np.testing.assert_array_equal(
        masks.scores, fake.predict(image, bboxes=boxes, channel_order="rgb").scores
    )


def test_no_boxes(fake: SAM) -> None:
    assert (
        len(predict_zoomed(fake, np.zeros((9, 9, 3), np.uint8), np.zeros((0, 4), np.float32))) == 0
    )


@pytest.mark.slow
def test_labels_are_near_the_truth(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = make_folder(tmp_path, 20, (256, 256))
    means = {}
    for zoom in (False, True):
        summary = auto_annotate(
            folder.images,
            boxes=folder.given,
            sam_model=tiny_bundle,
            format="coco",
            output_dir=tmp_path / f"{zoom}",
            zoom=zoom,
        )
        means[zoom] = mean_iou(summary.output_dir / "annotations.json", folder.masks)
    assert means[True] >= 0.85
    assert means[True] > means[False] + 0.02


def mean_iou(labels: Path, truth: dict[str, np.ndarray]) -> float:
    """Of the labels in a COCO file and the objects, which are in the same order."""
    data = json.loads(labels.read_text())
    ious = []
    for image in data["images"]:
        own = [a for a in data["annotations"] if a["image_id"] == image["id"]]
        for mask, label in zip(truth[image["file_name"]], own, strict=True):
            found = Rle.from_coco(label["segmentation"]).decode()
            ious.append((mask & found).sum() / (mask | found).sum())
    return float(np.mean(ious))
