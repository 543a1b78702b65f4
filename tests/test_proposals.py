"""``mode="proposals"``: boxes before a coarse grid of points."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from samdeploy import SAM
from samdeploy.decoding import Answer
from samdeploy.detections import Detections
from samdeploy.embedding import Embedding
from samdeploy.errors import InputError
from samdeploy.geometry import Transform
from samdeploy.masks.masks import Masks
from samdeploy.masks.postprocess import pairwise_iou
from samdeploy.prompts import DecoderPrompts, encode_prompts
from samdeploy.scenes import generate_scene
from samdeploy.whole_image.generate import generate
from samdeploy.whole_image.proposals import Proposals, Proposers
from samdeploy.whole_image.settings import WholeImageSettings

BLANK = np.zeros((96, 128, 3), np.uint8)
BOXES = np.array([[8, 8, 40, 40], [60, 30, 100, 70]], np.float64)


class Ellipses:
    """A model without weights: a box is answered with the ellipse in it, a point with a disc."""

    def __init__(self) -> None:
        self.asked: list[NDArray[np.float32]] = []

    def encode(self, image: NDArray[np.uint8]) -> Embedding:
        features = np.zeros((1, 8, 8, 8), np.float32)
        return Embedding({"image_embeddings": features}, Transform.fit(image.shape[:2], 128))

    def decode(self, embedding: Embedding, prompts: DecoderPrompts) -> Answer:
        self.asked.extend(prompts.point_labels)
        y, x = np.mgrid[:32, :32].astype(np.float32) * 4 + 2
        logits = []
        for corners, labels in zip(prompts.point_coords, prompts.point_labels, strict=True):
            (x1, y1), (x2, y2) = corners[:2]
            if labels[0] != 2:
                x1, y1, x2, y2 = x1 - 6, y1 - 6, x1 + 6, y1 + 6
            across = (x - (x1 + x2) / 2) / ((x2 - x1) / 2)
            down = (y - (y1 + y2) / 2) / ((y2 - y1) / 2)
            logits.append(np.tile(64 * (1 - np.hypot(across, down)), (4, 1, 1)))
        masks = np.array(logits, np.float32).reshape(-1, 4, 32, 32)
        scores = np.full((len(prompts), 4), 0.9, np.float32)
        return Answer(scores, lambda rows, cells=None: masks[rows])


def found(model: Ellipses, boxes: NDArray[np.float64], **settings: Any) -> Masks:
    proposals = Proposals(boxes, partial(encode_prompts, low_res_side=32))
    chosen = WholeImageSettings(mode="proposals", proposals=boxes, **settings)
    return generate(model.encode, model.decode, BLANK, chosen, proposals=proposals)


def test_boxes_are_asked_first_and_points_where_they_found_nothing() -> None:
    model = Ellipses()
    masks = found(model, BOXES, points_stride=32, stability_score_thresh=0.0)
    by_prompt = {int(i): mask for i, mask in zip(masks.prompt_index, masks.data, strict=True)}
    for i, (x1, y1, x2, y2) in enumerate(BOXES.astype(int)):
        area = np.pi / 4 * (x2 - x1) * (y2 - y1)
        inside = by_prompt[i][y1:y2, x1:x2].sum()
        assert abs(int(inside) - area) < 0.1 * area
    assert [list(labels) for labels in model.asked[:2]] == [[2, 3], [2, 3]]
    points = len(model.asked) - 2
    covered = sum(bool(by_prompt[i][int(y), int(x)]) for i in (0, 1) for x, y in grid(8))
    assert 3 <= covered < 64
    assert abs(points - (64 - covered)) <= 3  # whose cells lie on an outline
    np.testing.assert_allclose(masks.points[masks.prompt_index == 1], [[80, 50]])


def grid(side: int) -> list[tuple[float, float]]:
    return [
        ((i + 0.5) * 128 / side, (j + 0.5) * 96 / side) for i in range(side) for j in range(side)
    ]


def test_no_box_leaves_the_coarse_grid() -> None:
    model = Ellipses()
    found(model, np.zeros((0, 4)), points_stride=16, stability_score_thresh=0.0)
    assert len(model.asked) <= 16
    assert all(labels[0] == 1 for labels in model.asked)


def test_progress_counts_boxes_and_points() -> None:
    model, seen = Ellipses(), []
    proposals = Proposals(BOXES, partial(encode_prompts, low_res_side=32))
    chosen = WholeImageSettings(mode="proposals", proposals=BOXES, points_stride=8)
    generate(
        model.encode, model.decode, BLANK, chosen, lambda *at: seen.append(at), proposals=proposals
    )
    assert seen[0] == (2, 6)
    assert seen[-1] == (6, 6)


def test_objects_of_a_scene_are_found_by_their_boxes(tiny_bundle: Path) -> None:
    scene = generate_scene(3001, 256)
    large = scene.masks[scene.masks.mean(axis=(1, 2)) >= 0.01]
    y = [np.flatnonzero(mask.any(axis=1)) for mask in large]
    x = [np.flatnonzero(mask.any(axis=0)) for mask in large]
    boxes = [[c[0], r[0], c[-1] + 1, r[-1] + 1] for c, r in zip(x, y, strict=True)]
    seen = []

    def propose(image: NDArray[np.uint8]) -> Detections:
        seen.append(image)
        count = len(boxes)
        return Detections(
            np.array(boxes, np.float32), np.ones(count, np.float32), np.zeros(count, int)
        )

    with SAM(tiny_bundle) as sam:
        settings: dict[str, Any] = {"channel_order": "rgb", "mode": "proposals"}
        masks = sam.generate(scene.image, proposals=propose, **settings)
        given = sam.generate(scene.image, proposals=boxes, **settings)
    np.testing.assert_array_equal(seen[0], scene.image)
    np.testing.assert_array_equal(masks.data, given.data)
    overlaps = pairwise_iou(large, masks.data).max(axis=1, initial=0)
    assert (overlaps >= 0.7).mean() >= 0.7


def test_a_detector_is_opened_once_and_finds_boxes_of_any_class(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[str] = []

    class Model:
        closed = 0

        def detect(self, image: NDArray[np.uint8], settings: Any) -> Detections:
            assert settings.agnostic_nms
            assert settings.conf <= 0.1
            return Detections(BOXES.astype(np.float32), np.ones(2, np.float32), np.arange(2))

        def close(self) -> None:
            Model.closed += 1

    def open_yolo(path: str, **_: Any) -> Model:
        opened.append(path)
        return Model()

    monkeypatch.setattr("samdeploy.yolo.model.open_yolo", open_yolo)
    with Proposers() as proposers:
        for source in ("fastsam_onnx", Path("fastsam_onnx")):
            np.testing.assert_array_equal(proposers.boxes(source, BLANK), BOXES)
    assert opened == ["fastsam_onnx"]
    assert Model.closed == 1


def test_boxes_are_cut_at_the_edges_of_the_image() -> None:
    boxes = [[-5, 10, 30, 400], [200, 0, 300, 50], [10, 10, 10, 40]]
    np.testing.assert_array_equal(Proposers().boxes(boxes, BLANK), [[0, 10, 30, 96]])


@pytest.mark.parametrize(
    ("boxes", "sentence"),
    [
        ([[1, 2, 3]], r"shape \[1, 3\]; expected boxes \[N, 4\]"),
        ([[1, 2, 3, float("nan")]], "not finite"),
        (lambda image: "none", "proposals gave 'none'; expected boxes"),
        (np.zeros((10_001, 4)), "10001 proposals; expected at most 10000"),
    ],
)
def test_what_is_no_list_of_boxes_is_refused(boxes: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Proposers().boxes(boxes, BLANK)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"mode": "proposals"}, "needs boxes; pass proposals="),
        ({"proposals": BOXES}, "no use in mode=grid; add mode=proposals"),
        ({"mode": "proposals", "proposals": BOXES, "crop_n_layers": 1}, "looks at the whole image"),
        ({"mode": "proposals", "proposals": BOXES, "exact": True}, "drop exact and point_grids"),
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        WholeImageSettings(**settings)
