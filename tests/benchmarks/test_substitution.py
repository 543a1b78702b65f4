"""Replaced decoder outputs: the share that passes, and the same for everyone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from samdeploy.benchmarks.substitution import SETTINGS, SubstitutedSession, Substitution
from samdeploy.checked import CheckedSession
from samdeploy.geometry import Transform
from samdeploy.masks.postprocess import mask_boxes
from samdeploy.opening import open_model
from samdeploy.sam import SAM
from samdeploy.scenes import Scene
from samdeploy.whole_image.grids import make_crops
from samdeploy.whole_image.settings import WholeImageSettings
from samdeploy.whole_image.upscaling import Upscaler

SHAPE = (1200, 1800)


@pytest.fixture
def substitution() -> Substitution:
    return Substitution(Transform.fit(SHAPE, 1024), 32)


def test_every_grid_point_has_its_own_number(substitution: Substitution) -> None:
    points = make_crops(SHAPE, WholeImageSettings())[0].points * (1024 / 1800)
    assert substitution.index(points).tolist() == list(range(1024))
    # A peer may round the resized size, or the points, otherwise.
    assert substitution.index(points + np.array([0.4, -0.4])).tolist() == list(range(1024))


def test_a_third_of_the_masks_passes(substitution: Substitution) -> None:
    iou = np.zeros((1024, 3), np.float32)
    substitution.replace_iou(np.arange(1024), iou)
    share = (iou > SETTINGS["conf_thres"]).mean()
    assert 0.33 < share < 0.37


def test_three_outputs_are_the_last_of_four(substitution: Substitution) -> None:
    index = np.array([5, 900])
    four, three = np.zeros((2, 4, 64, 64), np.float32), np.zeros((2, 3, 64, 64), np.float32)
    substitution.replace_masks(index, four)
    substitution.replace_masks(index, three)
    assert np.array_equal(four[:, 1:], three)


def test_masks_are_round(substitution: Substitution) -> None:
    logits = np.zeros((200, 4, 256, 256), np.float32)
    substitution.replace_masks(np.arange(200), logits)
    masks = logits.reshape(-1, 256, 256) > 0
    boxes = mask_boxes(masks)
    inside = (boxes[:, :2] > 0).all(1) & (boxes[:, 2:] < 255).all(1)
    width, height = (boxes[inside, 2:] - boxes[inside, :2] + 1).T
    assert np.abs(width - height).max() <= 1
    areas = masks[inside].sum(axis=(1, 2))
    large = width > 12
    assert np.allclose(areas[large], np.pi / 4 * (width * height)[large], rtol=0.15)


def test_edges_are_as_soft_as_a_model_s(substitution: Substitution) -> None:
    """Some masks are stable, some are not, and some have to be made before that is known."""
    logits = np.zeros((256, 4, 256, 256), np.float32)
    substitution.replace_masks(np.arange(256), logits)
    upscaler = Upscaler(Transform.fit((1024, 1024), 1024))
    scores, doubt = upscaler.estimate_stability(logits[:, 1], 1.0)
    least = SETTINGS["stability_score_thresh"]
    assert 0.3 < (scores >= least).mean() < 0.6
    assert 0.05 < (np.abs(scores - least) <= doubt).mean() < 0.5
    np.testing.assert_allclose(np.median(scores), 0.945, atol=0.01)


def test_both_ways_of_decoding_give_the_same(small_bundle: Path, scene: Scene) -> None:
    """Through the split decoder and the plain one; batches do not matter."""
    opened = open_model(small_bundle)
    chosen = Substitution(Transform.fit(scene.image.shape[:2], opened.image_size), 6)
    split = {
        role: CheckedSession(SubstitutedSession(session, role, chosen), role)
        for role, session in opened.sessions.items()
    }
    plain = {role: split[role] for role in ("encoder", "decoder")}
    assert split.keys() > plain.keys()
    settings = {"points_stride": 6, "nms_thresh": 1.0, **SETTINGS}

    def areas(sessions: dict[str, CheckedSession], batch: int) -> list[int]:
        sam = SAM(dataclasses.replace(opened, sessions=sessions))
        found = sam.generate(scene.image, channel_order="rgb", points_batch_size=batch, **settings)
        return sorted(found.areas.tolist())

    own = areas(split, 36)
    chosen.enabled = True
    replaced = areas(split, 36)
    assert replaced == areas(split, 7) == areas(plain, 36)
    iou = np.zeros((36, 3), np.float32)
    chosen.replace_iou(np.arange(36), iou)
    assert 0 < len(replaced) < (iou > SETTINGS["conf_thres"]).sum()  # some are not stable
    assert replaced != own
