"""Light HQ-SAM at its full size, 1024 pixels, against the official implementation.

Weights are a function of key and shape, so that the outputs for them could be stored.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from samdeploy import SAM, export
from samdeploy.bundle import Bundle
from samdeploy.models.hq import HqDecoder, HqEncoder, load_hq_sam
from samdeploy.preprocess import preprocess
from samdeploy.prompts import Prompt
from samdeploy.session import Array, RuntimeOptions
from tests.hq_models import GOLDEN, write_checkpoint

pytestmark = pytest.mark.full_size

NAME = "sam_hq_vit_tiny"
#: Points and labels as the decoder takes them, in pixels of the photograph.
PROMPTS = {
    "one_point": ([[75, 60], [0, 0]], [1, -1]),
    "box_neg_point": ([[38, 102], [5, 70], [70, 132]], [0, 2, 3]),
}


def assert_close(found: Tensor | Array, expected: Array) -> None:
    assert tuple(found.shape) == expected.shape
    assert np.abs(np.asarray(found) - expected).max() <= 1e-4 * np.abs(expected).max()


def stored() -> dict[str, Array]:
    with np.load(GOLDEN / f"{NAME}.npz") as arrays:
        return dict(arrays)


@pytest.mark.overnight
def test_the_official_outputs(photo: NDArray[np.uint8], tmp_path: Path) -> None:
    sam = load_hq_sam(write_checkpoint(NAME, tmp_path))
    assert sam.config.architecture == NAME
    expected = stored()
    pixels, transform = preprocess(photo, 1024)
    scale = transform.input_size[1] / photo.shape[1]
    with torch.inference_mode():
        image = HqEncoder(sam)(torch.from_numpy(pixels))
        embedding, features = image
        assert_close(embedding[:, ::16, ::2, ::2], expected["image_embedding_c16_s2"])
        assert_close(embedding[:, :, ::8, ::8], expected["image_embedding_s8"])
        assert_close(features[..., ::16, ::16], expected["hq_features_s16"])
        means = features.double().mean((0, 2, 3))
        assert_close(means, expected["hq_features_channel_mean"])
        for name, (points, labels) in PROMPTS.items():
            logits, iou = HqDecoder(sam)(
                *image,
                torch.tensor([points]) * scale,
                torch.tensor([labels]).float(),
                torch.zeros(1, 1, 256, 256),
                torch.zeros(1),
            )
            assert_close(iou, expected[f"{name}/iou_predictions"])
            parts = expected[f"{name}/masks_and_hq_stride8"]
            assert_close(logits[..., ::8, ::8], parts[:, :4] + parts[:, 4:])
            best = 1 + int(iou[0, 1:].argmax())
            for mode, mask in (("single", 0), ("multi", best)):
                answer = logits[:, mask : mask + 1, ::8, ::8]
                assert_close(answer, expected[f"{name}/{mode}_logits_stride8"])


@pytest.mark.overnight
@pytest.mark.parametrize(
    ("format", "runtime"), [("onnx", "onnxruntime"), ("openvino", "openvino"), ("coreml", "mil")]
)
def test_exported(photo: NDArray[np.uint8], tmp_path: Path, format: str, runtime: str) -> None:
    """Verified against torch, and the same numbers as the official implementation."""
    folder = export(write_checkpoint(NAME, tmp_path), format, output=tmp_path / "bundle")
    assert Bundle.open(folder).manifest.verification.passed
    expected, options = stored(), RuntimeOptions(precision="fp32")
    prompts = {
        "one_point": Prompt(points=[75, 60]),
        "box_neg_point": Prompt(points=[38, 102], labels=[0], box=[5, 70, 70, 132]),
    }
    with SAM(folder, runtime=runtime, device="cpu", options=options) as sam:
        embedding = sam.encode(photo, channel_order="rgb")
        features = embedding.tensors["hq_features"]
        assert_close(embedding.image_embeddings[:, :, ::8, ::8], expected["image_embedding_s8"])
        assert_close(features[..., ::16, ::16], expected["hq_features_s16"])
        for name, prompt in prompts.items():
            one = sam.predict(embedding, prompts=[prompt])
            several = sam.predict(embedding, prompts=[prompt], multimask=True)
            assert one.low_res_logits is not None
            assert several.low_res_logits is not None
            best = int(several.scores.argmax())
            for mode, logits, found in (
                ("single", one.low_res_logits[:1], one.data[:1]),
                ("multi", several.low_res_logits[best : best + 1], several.data[best : best + 1]),
            ):
                assert_close(logits[None, :, ::8, ::8], expected[f"{name}/{mode}_logits_stride8"])
                bits = expected[f"{name}/{mode}_bits"]
                mask = np.unpackbits(bits, axis=-1, count=photo.shape[1]).astype(bool)
                assert (found & mask).sum() >= 0.999 * (found | mask).sum()
