"""Whole-image mode against the lists of the official generator, and on a decoder of discs."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from samdeploy.decoding import Answer
from samdeploy.embedding import Embedding
from samdeploy.geometry import Transform
from samdeploy.images import load_image
from samdeploy.masks.masks import Masks
from samdeploy.masks.postprocess import pairwise_iou
from samdeploy.masks.rle import Rle
from samdeploy.models.load import load_sam
from samdeploy.preprocess import preprocess
from samdeploy.prompts import DecoderPrompts
from samdeploy.whole_image.generate import Decode, Encode, generate
from samdeploy.whole_image.grids import make_crops
from samdeploy.whole_image.settings import WholeImageSettings

pytestmark = pytest.mark.exporting

GOLDEN = Path(__file__).parent / "golden"
SETTINGS = json.loads((GOLDEN / "amg/settings.json").read_text())["settings"]
Model = tuple[Encode, Decode]


@pytest.fixture(scope="module")
def model() -> Model:
    folder = GOLDEN / "sam_vit_small"
    sam = load_sam(folder / "weights.safetensors", config=folder / "config.json")

    def encode(image: NDArray[np.uint8]) -> Embedding:
        array, transform = preprocess(image, 256)
        with torch.no_grad():
            features = sam.encode(torch.from_numpy(array)).numpy()
            return Embedding({"image_embeddings": features}, transform)

    def decode(embedding: Embedding, prompts: DecoderPrompts) -> Answer:
        feeds = {name: torch.from_numpy(value) for name, value in prompts.feeds().items()}
        with torch.no_grad():
            masks, iou = sam.decode(torch.from_numpy(embedding.image_embeddings.copy()), **feeds)
        return Answer(iou.numpy(), lambda rows, cells=None: masks.numpy()[rows])

    return encode, decode


@pytest.fixture(scope="module")
def picture() -> NDArray[np.uint8]:
    return load_image(GOLDEN / "sam_vit_small/image.png")


def to_xywh(boxes: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


@pytest.mark.parametrize("name", SETTINGS)
def test_list_matches_the_official_generator(
    name: str, model: Model, picture: NDArray[np.uint8]
) -> None:
    given = {k: v for k, v in SETTINGS[name]["settings"].items() if v is not None}
    expected = json.loads((GOLDEN / f"amg/{name}.json").read_text())["masks"]

    found = generate(*model, picture, WholeImageSettings.from_names({**given, "exact": True}))

    assert len(found) == len(expected)
    reference = np.stack([Rle.from_coco(mask["segmentation"]).decode() for mask in expected])
    assert (found.data != reference).sum(axis=(1, 2)).max() <= 6
    assert np.abs(found.areas - [mask["area"] for mask in expected]).max() <= 6
    np.testing.assert_array_equal(to_xywh(found.boxes), [mask["bbox"] for mask in expected])
    np.testing.assert_array_equal(found.points, [mask["point_coords"][0] for mask in expected])
    assert found.crop_boxes is not None
    np.testing.assert_array_equal(
        to_xywh(found.crop_boxes), [mask["crop_box"] for mask in expected]
    )
    np.testing.assert_allclose(
        found.scores, [mask["predicted_iou"] for mask in expected], atol=1e-4
    )
    np.testing.assert_allclose(
        found.stability, [mask["stability_score"] for mask in expected], atol=3e-3
    )


@pytest.mark.parametrize("name", SETTINGS)
def test_low_res_filters_find_the_same_masks(
    name: str, model: Model, picture: NDArray[np.uint8]
) -> None:
    given = {k: v for k, v in SETTINGS[name]["settings"].items() if v is not None}
    exact, default = (
        generate(*model, picture, WholeImageSettings.from_names({**given, "exact": exact}))
        for exact in (True, False)
    )
    matched = [share_matched(a.data, b.data) for a, b in ((exact, default), (default, exact))]
    assert min(matched) >= 0.98, matched


def share_matched(masks: NDArray[np.bool_], others: NDArray[np.bool_]) -> float:
    """Share of ``masks`` that one of ``others`` overlaps with an IoU of 0.95 or more."""
    return float((pairwise_iou(masks, others).max(axis=1, initial=0) >= 0.95).mean())


class Discs:
    """A model without weights: the answers to a point are discs around it, of 4, 6 and 8 cells.

    It scores them 0.9, 0.8 and 0.7, a little less the further the point is from the origin.
    """

    size = 128

    def __init__(self) -> None:
        self.crops: list[NDArray[np.uint8]] = []
        self.batches: list[int] = []

    def encode(self, image: NDArray[np.uint8]) -> Embedding:
        self.crops.append(image)
        transform = Transform.fit(image.shape[:2], self.size)
        features = np.zeros((1, 8, 8, 8), np.float32)
        return Embedding({"image_embeddings": features}, transform)

    def decode(self, embedding: Embedding, prompts: DecoderPrompts) -> Answer:
        self.batches.append(len(prompts))
        np.testing.assert_array_equal(prompts.point_labels, [[1, -1]] * len(prompts))
        y, x = np.mgrid[:32, :32].astype(np.float32)
        where = prompts.point_coords[:, 0, :, None, None] / 4 - 0.5
        distance = np.hypot(x - where[:, 0], y - where[:, 1])[:, None]
        radii = np.array([15, 4, 6, 8], np.float32)[:, None, None]
        scores = (
            np.array([1.0, 0.9, 0.8, 0.7]) - prompts.point_coords[:, 0].sum(axis=1)[:, None] / 1e5
        )
        logits = self.draw((64 * (radii - distance)).astype(np.float32), where)
        return Answer(scores.astype(np.float32), lambda rows, cells=None: logits[rows])

    def draw(self, logits: NDArray[np.float32], where: NDArray[np.float32]) -> NDArray[np.float32]:
        """The discs ``[B, 4, 32, 32]`` around ``where`` ``[B, 2, 1, 1]``, in cells."""
        return logits


def discs(image: NDArray[np.uint8], model: Discs | None = None, **settings: Any) -> Masks:
    model = model or Discs()
    return generate(model.encode, model.decode, image, WholeImageSettings.from_names(settings))


BLANK = np.zeros((96, 128, 3), np.uint8)


def test_fields_of_the_result() -> None:
    found = discs(BLANK, points_stride=2, conf_thres=0.85)
    assert found.orig_shape == (96, 128)
    np.testing.assert_array_equal(found.points, [[32, 24], [32, 72], [96, 24], [96, 72]])
    np.testing.assert_array_equal(found.prompt_index, [0, 2, 1, 3])  # best score first
    np.testing.assert_array_equal(found.crop_boxes, [[0, 0, 128, 96]] * 4)
    assert (np.diff(found.scores) < 0).all()
    assert found.data.shape == (4, 96, 128)
    for mask, (x, y), box in zip(found.data, found.points, found.boxes, strict=True):
        assert mask[int(y), int(x)]
        assert abs(int(mask.sum()) - np.pi * 16**2) < 40
        np.testing.assert_allclose(box, [x - 16, y - 16, x + 15, y + 15], atol=1)


def test_the_single_mask_output_is_not_used() -> None:
    # It would be the best scored and largest.
    found = discs(BLANK, points_stride=1, conf_thres=0, stability_score_thresh=0, nms_thresh=1)
    assert len(found) == 3
    assert found.scores.max() < 0.95


@pytest.mark.parametrize("batch", [1, 3, 16, 64])
def test_batches_do_not_change_the_result(batch: int) -> None:
    model = Discs()
    settings = {"points_stride": 4, "conf_thres": 0.6, "stability_score_thresh": 0.5}
    found = discs(BLANK, model, **settings, points_batch_size=batch)
    assert max(model.batches) <= batch
    assert sum(model.batches) == 16
    expected = discs(BLANK, **settings)
    np.testing.assert_array_equal(found.data, expected.data)
    np.testing.assert_array_equal(found.scores, expected.scores)
    np.testing.assert_array_equal(found.prompt_index, expected.prompt_index)


def test_progress_counts_points() -> None:
    model, seen = Discs(), []
    settings = WholeImageSettings(points_stride=4, points_batch_size=6, crop_n_layers=1)
    generate(model.encode, model.decode, BLANK, settings, lambda *at: seen.append(at))
    assert seen[:3] == [(6, 80), (12, 80), (16, 80)]
    assert seen[-1] == (80, 80)
    assert len(seen) == 15


def test_nothing_found() -> None:
    found = discs(BLANK, points_stride=2, conf_thres=0.99, crop_n_layers=1, min_mask_region_area=9)
    assert len(found) == 0
    assert found.data.shape == (0, 96, 128)
    assert found.boxes.shape == (0, 4)


def test_the_encoder_sees_every_crop_of_the_image() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    model = Discs()
    discs(picture, model, points_stride=1, crop_n_layers=1, crop_overlap_ratio=0.5)
    boxes = [
        crop.box
        for crop in make_crops(
            (90, 120), WholeImageSettings(points_stride=1, crop_n_layers=1, crop_overlap_ratio=0.5)
        )
    ]
    assert len(model.crops) == len(boxes) == 5
    for crop, (x1, y1, x2, y2) in zip(model.crops, boxes, strict=True):
        assert crop.flags.c_contiguous
        np.testing.assert_array_equal(crop, picture[y1:y2, x1:x2])


def test_masks_cut_off_by_a_crop_are_left_to_another() -> None:
    image = np.zeros((400, 400, 3), np.uint8)
    found = discs(image, points_stride=4, crop_n_layers=1, crop_nms_thresh=1, conf_thres=0.85)
    assert found.crop_boxes is not None
    inner = [edge for edge in np.unique(found.crop_boxes) if edge not in (0, 400)]
    assert inner
    for box, crop in zip(found.boxes, found.crop_boxes, strict=True):
        for side, edge in zip(box, crop, strict=True):
            assert edge in (0, 400) or abs(side - edge) > 20


def test_adaptive_mode_asks_less_and_finds_as_much() -> None:
    grid, adaptive = Discs(), Discs()
    settings = {"points_stride": 16, "conf_thres": 0.6, "stability_score_thresh": 0.5}
    every = discs(BLANK, grid, **settings)
    fewer = discs(BLANK, adaptive, **settings, mode="adaptive")
    assert sum(adaptive.batches) < 0.7 * sum(grid.batches)
    # What is left out lies inside something found.
    found = fewer.data.any(axis=0)
    assert np.count_nonzero(found) >= 0.98 * np.count_nonzero(every.data.any(axis=0))
    assert set(fewer.prompt_index) <= set(range(16 * 16))
    np.testing.assert_allclose(fewer.points[0] % 8, [4, 3], atol=1e-9)


def test_adaptive_progress_reaches_the_end() -> None:
    model, seen = Discs(), []
    settings = WholeImageSettings(points_stride=8, mode="adaptive", conf_thres=0.6)
    generate(model.encode, model.decode, BLANK, settings, lambda *at: seen.append(at))
    assert seen[-1][1] == 64
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_memory_of_waiting_logits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    import samdeploy.whole_image.generate as module

    settings = {"points_stride": 8, "conf_thres": 0.6, "stability_score_thresh": 0.5}
    expected = discs(BLANK, **settings)
    monkeypatch.setattr(module, "_MOST_LOGIT_BYTES", 0)
    found = discs(BLANK, **settings)
    np.testing.assert_array_equal(found.data, expected.data)
    np.testing.assert_array_equal(found.boxes, expected.boxes)


def test_small_regions_are_cleaned() -> None:
    class Speckled(Discs):
        def draw(
            self, logits: NDArray[np.float32], where: NDArray[np.float32]
        ) -> NDArray[np.float32]:
            logits[:, :, 0, 0] = 1e4  # an island
            for mask, (x, y) in zip(logits, np.round(where[..., 0, 0]).astype(int), strict=True):
                mask[:, y, x] = -1e4  # a hole
            return logits

    options: dict[str, Any] = {"conf_thres": 0.85, "stability_score_thresh": 0}
    grid = [[[0.5, 0.5]]]
    rough = discs(BLANK, Speckled(), point_grids=grid, **options)
    clean = discs(BLANK, Speckled(), point_grids=grid, min_mask_region_area=100, **options)
    assert rough.data[0, 0, 0]
    assert not rough.data[0, 48, 64]
    assert not clean.data[0, 0, 0]
    assert clean.data[0, 48, 64]
    np.testing.assert_allclose(clean.boxes[0], [48, 32, 79, 63], atol=1)
    assert clean.areas[0] == clean.data[0].sum()


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (200, 1), (3, 5)])
def test_images_of_few_pixels(size: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    found = discs(image, points_stride=2, crop_n_layers=2, conf_thres=0, stability_score_thresh=0)
    assert found.data.shape[1:] == size


def test_memory_does_not_grow_with_the_number_of_masks() -> None:
    image = np.zeros((600, 800, 3), np.uint8)
    options: dict[str, Any] = {"conf_thres": 0.6, "stability_score_thresh": 0.5, "nms_thresh": 1}
    discs(image, points_stride=2, points_batch_size=4, **options)  # first-use allocations
    tracemalloc.start()
    found = discs(image, points_stride=12, points_batch_size=4, **options)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) > 400
    assert peak < 0.15 * found.data.nbytes
