"""The comparison itself: it must see every kind of difference."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
import numpy as np
import pytest

from samdeploy.bundle import VerificationRecord
from samdeploy.checked import CheckedSession
from samdeploy.errors import VerificationError
from samdeploy.exporting.metrics import mask_iou
from samdeploy.exporting.verify import check
from samdeploy.exporting.verify_sam import verify_sessions
from samdeploy.graphs import DECODER, ENCODER
from samdeploy.runtimes.fake import FakeDecoder, FakeEncoder
from samdeploy.session import Array


def sessions(
    encoder: Callable[[Array], Array] = lambda x: x,
    logits: Callable[[Array], Array] = lambda x: x,
    iou: Callable[[Array], Array] = lambda x: x,
) -> dict[str, CheckedSession]:
    """The fake model with its outputs changed."""

    class Encoder(FakeEncoder):
        def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
            return {"image_embeddings": encoder(super().run(feeds)["image_embeddings"])}

    class Decoder(FakeDecoder):
        def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
            answer = super().run(feeds)
            return {
                "low_res_masks": logits(answer["low_res_masks"]),
                "iou_predictions": iou(answer["iou_predictions"]),
            }

    return {
        ENCODER: CheckedSession(Encoder(), ENCODER),
        DECODER: CheckedSession(Decoder(), DECODER),
    }


def test_equal_models_pass() -> None:
    record = verify_sessions(sessions(), sessions())
    check(record)
    assert record.mask_iou_min == 1
    assert record.mask_iou_p5 == 1
    assert record.embedding_max_error == 0
    assert (record.images, record.prompts) == (2, 34)


@pytest.mark.parametrize(
    "changed",
    [
        {"encoder": lambda x: x[:, ::-1].copy()},
        {"logits": lambda x: x - 1.0},
        {"logits": lambda x: x[..., ::-1].copy()},
        {"logits": lambda x: np.full_like(x, np.nan)},
        {"encoder": lambda x: np.full_like(x, np.nan)},
    ],
)
def test_differences_fail(changed: dict[str, Callable[[Array], Array]]) -> None:
    record = verify_sessions(sessions(), sessions(**changed))
    assert not record.passed
    with pytest.raises(VerificationError, match="mask IoU mean"):
        check(record)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("part", ["encoder", "logits", "iou"])
def test_what_is_not_finite_fails_and_can_be_recorded(part: str, value: float) -> None:
    calls = 0

    def spoil(array: Array) -> Array:
        """One value, of the second image's answers alone."""
        nonlocal calls
        calls += 1
        array = array.copy()
        if calls == (2 if part == "encoder" else 8):
            array.flat[-1] = value
        return array

    record = verify_sessions(sessions(), sessions(**{part: spoil}), tolerance=0.0)
    assert record.not_finite == (not np.isfinite(value))
    assert record.passed == (np.isfinite(value) and part != "encoder")
    if record.not_finite:
        with pytest.raises(VerificationError, match="1 values are NaN or infinite"):
            check(record)
    content = msgspec.json.encode(record)
    assert b"null" not in content
    assert msgspec.json.decode(content, type=VerificationRecord) == record


def test_a_reference_that_is_not_finite_fails() -> None:
    broken = sessions(iou=lambda x: np.full_like(x, np.nan))
    record = verify_sessions(broken, broken)
    assert not record.passed
    assert record.not_finite == 2 * record.prompts * 4


def test_masks_of_the_whole_image_are_counted() -> None:
    everything = {"conf_thres": 0.0, "stability_score_thresh": 0.0}
    same = verify_sessions(sessions(), sessions(), whole_image=everything)
    assert same.whole_image_kept == same.whole_image_masks > 2
    # The fake answers a click with a square around it.
    moved = sessions(logits=lambda x: np.roll(x, 3, axis=-1))
    record = verify_sessions(sessions(), moved, whole_image=everything)
    assert record.whole_image_kept < record.whole_image_masks == same.whole_image_masks
    strict = verify_sessions(sessions(), moved, whole_image={"conf_thres": 1.0})
    assert strict.whole_image_masks == 0


def test_small_differences_are_measured() -> None:
    record = verify_sessions(sessions(), sessions(iou=lambda x: x + np.float32(0.01)))
    assert record.iou_prediction_max_error == pytest.approx(0.01, abs=1e-6)


def test_tolerance_by_precision() -> None:
    candidate = sessions(logits=lambda x: x - np.float32(0.02))
    strict = verify_sessions(sessions(), candidate)
    assert strict.mask_iou_min <= strict.mask_iou_p5 <= strict.mask_iou_mean
    loose = verify_sessions(sessions(), candidate, tolerance=0.9)
    assert strict.mask_iou_mean == loose.mask_iou_mean < 1
    assert (strict.tolerance, loose.tolerance) == (0.999, 0.9)
    assert loose.passed


def test_mask_iou_of_empty_masks_is_one() -> None:
    empty, full = np.full((1, 2, 2), -1, np.float32), np.ones((1, 2, 2), np.float32)
    assert mask_iou(empty, empty)[0] == 1
    assert mask_iou(empty, full)[0] == 0
    half = full.copy()
    half[0, 0] = -1
    assert mask_iou(full, half)[0] == 0.5
