"""Rows of pose and track labels are not read as outlines, nor outlines as those."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from samdeploy import InputError
from samdeploy.annotation.row_layout import find_layout
from samdeploy.annotation.yolo_folder import YoloLabels
from samdeploy.masks.polygons import mask_to_polygons
from samdeploy.masks.yolo_labels import Layout, mask_to_yolo_line
from samdeploy.scenes import generate_scene

BOX = [0.26, 0.40, 0.28, 0.40]


def layout(*rows: list[float], beside: tuple[Path, ...] = ()) -> Layout:
    return find_layout(((f"row {i}", np.array(row)) for i, row in enumerate(rows)), beside)


def pose(rng: np.random.Generator, count: int, each: int, seen: tuple[float, ...]) -> list[float]:
    """A box and ``count`` keypoints in it, of ``each`` numbers."""
    row = [*BOX]
    for _ in range(count):
        x, y = np.array(BOX[:2]) + (rng.random(2) - 0.5) * BOX[2:]
        row += [x, y, rng.choice(seen)][:each]
    return row


@pytest.mark.parametrize("rows", [[BOX], [[*BOX, 0.9]], [BOX, [*BOX, 0.9]], []])
def test_boxes(rows: list[list[float]]) -> None:
    assert layout(*rows) is Layout.OUTLINE  # which nothing is read as: all are short


@pytest.mark.parametrize("each", [2, 3])
@pytest.mark.parametrize("count", [3, 4, 17])
@pytest.mark.parametrize("after", [[], [0.9], [0.9, 7]])
def test_keypoints(each: int, count: int, after: list[float]) -> None:
    rng = np.random.default_rng(each + count)
    rows = [pose(rng, count, each, (0, 1, 2)) + after for _ in range(20)]
    assert layout(*rows) is Layout.BOX


def test_keypoints_with_confidences() -> None:
    rng = np.random.default_rng(0)
    assert layout(*([*pose(rng, 17, 3, (0.3, 0.75)), 0.9] for _ in range(5))) is Layout.BOX


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ([*BOX, 0.23, 0.35, 0.29, 0.35, 0.26, 0.45], Layout.BOX),  # as an outline it crosses itself
        ([*BOX, *[0.26, 0.40, 1] * 4], Layout.BOX),
        ([*BOX, 0.26, 0.40, 2], Layout.BOX),
        ([*BOX, 0.93, 5], Layout.BOX),
        ([*BOX, 0.23, 0.35, 0, 0, 0.26, 0.45], None),
        ([*BOX, 0.93, 1], None),
        ([*BOX, 0.93, 0], None),
        ([0.1, 0.2, 0.4, 0.2, 0.4, 0.8], Layout.OUTLINE),
        ([0.2, 0.2, 0.4, 0.2, 0.4, 0.8, 0.2, 0.8], Layout.OUTLINE),
    ],
)
def test_one_row_alone(row: list[float], found: Layout | None) -> None:
    if found is None:
        with pytest.raises(InputError, match=r"^row 0 has \d+ numbers after its class, which may"):
            layout(row)
    else:
        assert layout(row) is found


def test_outlines() -> None:
    """Of scenes, exact and simplified to few corners."""
    rows, few = [], []
    for seed in range(3):
        for mask in generate_scene(seed, (120, 160)).masks:
            line = mask_to_yolo_line(mask, 0)
            assert line is not None
            rows.append([float(word) for word in line.split()[1:]])
            part = mask_to_polygons(mask, 4.0)
            if part and len(part[0].exterior) == 4:
                few.append((part[0].exterior / (160, 120)).ravel().tolist())
    assert layout(*rows) is Layout.OUTLINE
    assert len(few) > 2
    assert layout(*few) is Layout.OUTLINE
    assert layout(*([*row, 0.5] for row in rows)) is Layout.SCORED_OUTLINE
    assert layout(max(rows, key=len)) is Layout.OUTLINE
    assert layout(BOX, *rows[:1]) is Layout.OUTLINE


def test_rotated_boxes_are_outlines() -> None:
    corners = np.array([[-0.1, -0.05], [0.1, -0.05], [0.1, 0.05], [-0.1, 0.05]])
    rows = []
    for turn in np.linspace(0, 3, 12):
        c, s = np.cos(turn), np.sin(turn)
        rows.append((corners @ [[c, s], [-s, c]] + [0.3 + turn / 10, 0.5]).ravel().tolist())
    assert layout(*rows) is Layout.OUTLINE


@pytest.mark.parametrize(("yaml", "found"), [("kpt_shape: [3, 2]\n", Layout.BOX),
                                             ("names: [cat]\n", Layout.OUTLINE)])  # fmt: skip
def test_data_yaml_tells(tmp_path: Path, yaml: str, found: Layout) -> None:
    (tmp_path / "labels" / "train").mkdir(parents=True)
    (tmp_path / "labels" / "train" / "a.txt").write_text(
        "0 0.26 0.40 0.28 0.40 0.23 0.35 0 0 0.26 0.45\n"
    )
    folder, images = tmp_path / "labels" / "train", [Path("a.png")]
    with pytest.raises(InputError, match=r"'a\.txt' line 1 has 10 numbers"):
        YoloLabels(folder, images, 0.5)
    (tmp_path / "data.yaml").write_text(yaml)
    labels = YoloLabels(folder, images, 0.5)
    assert labels.facts == {"layout": found.value}
    (box,) = labels.find(images[0], np.zeros((100, 100, 3), np.uint8)).boxes.round(2).tolist()
    assert box == ([12, 20, 40, 60] if found is Layout.BOX else [0, 0, 28, 45])
