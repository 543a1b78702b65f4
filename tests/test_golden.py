"""The golden answer of a bundle: it is the model's, every backend gives it, a wrong one is told."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from samdeploy.bundle import read_manifest, write_manifest
from samdeploy.decoding import Decoding
from samdeploy.engine import Engine
from samdeploy.errors import BundleError
from samdeploy.geometry import resize_masks
from samdeploy.golden import LEAST_MASK_IOU, MOST_IOU_ERROR, Golden, golden_picture
from samdeploy.graphs import DECODER, ENCODER
from samdeploy.masks.rle import Rle
from samdeploy.opening import open_model
from samdeploy.prompts import Prompt


def golden_of(bundle: Path) -> Golden:
    golden = read_manifest(bundle).golden
    assert golden is not None
    return golden


def distances(bundle: Path, golden: Golden) -> list[tuple[float, float]]:
    """Largest error of a predicted IoU, and IoU of the mask of output 0, by the split decoder and
    by the plain one."""
    opened = open_model(bundle)
    with ExitStack() as stack:
        for session in opened.sessions.values():
            stack.callback(session.close)
        engine = Engine(opened)
        embedding = engine.encode(golden_picture())
        batch = engine.encode_prompts([Prompt(points=golden.point)], embedding.transform)
        plain = {role: opened.sessions[role] for role in (ENCODER, DECODER)}
        expected = Rle.from_coco(msgspec.to_builtins(golden.mask)).decode()
        found = []
        for decoding in (Decoding(opened.sessions), Decoding(plain)):
            answer = decoding(embedding, batch)
            [mask] = resize_masks(answer.masks(np.arange(1))[0, :1], embedding.transform)
            error = np.abs(answer.iou_predictions[0] - golden.iou_predictions).max()
            found.append((float(error), (mask & expected).sum() / (mask | expected).sum()))
    return found


@pytest.mark.parametrize(
    "bundle",
    [
        "tiny_bundle",
        "small_bundle",
        pytest.param("small_openvino_bundle", marks=[pytest.mark.slow, pytest.mark.overnight]),
    ],
)
def test_every_backend_gives_it(bundle: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(bundle)
    for error, overlap in distances(folder, golden_of(folder)):
        assert error < MOST_IOU_ERROR / 10
        assert overlap > LEAST_MASK_IOU


def test_the_shipped_model_finds_the_disc(tiny_bundle: Path) -> None:
    """As docs/embedding.md says: 19998 pixels, predicted IoU 0.985."""
    golden = golden_of(tiny_bundle)
    mask = Rle.from_coco(msgspec.to_builtins(golden.mask))
    assert abs(mask.area - 19998) <= 2
    assert golden.iou_predictions[0] == pytest.approx(0.985, abs=1e-3)


@pytest.mark.parametrize(
    "change",
    [
        {"iou_predictions": [float("nan")] * 4},
        {"iou_predictions": []},
        {"point": [150.0]},
        {"width": 0},
        {"mask": {"size": [310, 400], "counts": "<script>"}},
        {"mask": {"size": [310, 1 << 20], "counts": "0"}},
    ],
)
def test_one_out_of_its_limits_is_refused(
    change: dict[str, Any], tiny_bundle: Path, tmp_path: Path
) -> None:
    manifest = msgspec.to_builtins(read_manifest(tiny_bundle))
    manifest["golden"] |= change
    (tmp_path / "bundle.json").write_bytes(msgspec.json.encode(manifest))
    with pytest.raises(BundleError, match="golden"):
        read_manifest(tmp_path)


def test_a_bundle_without_one_still_opens(tiny_bundle: Path, tmp_path: Path) -> None:
    manifest = msgspec.structs.replace(read_manifest(tiny_bundle), golden=None)
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path).golden is None
