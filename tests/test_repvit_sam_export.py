"""A small RepViT-SAM in every format, against numbers of the official implementation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from samdeploy.bundle import Bundle
from samdeploy.embedding import Embedding
from samdeploy.exporting.pipeline import export
from samdeploy.masks.masks import Masks
from samdeploy.prompts import Prompt
from samdeploy.sam import SAM
from samdeploy.session import RuntimeOptions
from tests.seeded import seeded_state

pytestmark = pytest.mark.exporting

PROMPTS = {
    "one_point": Prompt(points=[75, 60]),
    "box_neg_point": Prompt(points=[38, 102], labels=[0], box=[5, 70, 70, 132]),
}


def both_ways(sam: SAM, embedding: Embedding, prompt: Prompt) -> list[Masks]:
    """One mask, and then the other three."""
    return [
        sam.predict(embedding, prompts=[prompt], multimask=several) for several in (False, True)
    ]


def all_four(
    sam: SAM, embedding: Embedding, prompt: Prompt
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits and scores."""
    answers = both_ways(sam, embedding, prompt)
    logits = [answer.low_res_logits for answer in answers if answer.low_res_logits is not None]
    return np.concatenate(logits), np.concatenate([answer.scores for answer in answers])


@pytest.mark.parametrize(
    ("format", "runtime"),
    [
        pytest.param("onnx", "onnxruntime", marks=[pytest.mark.slow, pytest.mark.overnight]),
        pytest.param("openvino", "openvino", marks=[pytest.mark.slow, pytest.mark.overnight]),
        pytest.param("coreml", "mil", marks=[pytest.mark.slow, pytest.mark.overnight]),
        pytest.param("mnn", "mnn", marks=[pytest.mark.slow, pytest.mark.overnight]),
    ],
)
def test_the_official_outputs(
    golden: Path, photo: NDArray[np.uint8], tmp_path: Path, format: str, runtime: str
) -> None:
    """Exported, verified against torch, and the same numbers as the official implementation."""
    torch.save(seeded_state(golden / "repvit_sam" / "small.json"), tmp_path / "small.pt")
    more: dict[str, Any] = {"max_prompts": 8} if format == "coreml" else {}
    folder = export(
        tmp_path / "small.pt", format, output=tmp_path / "bundle",
        config={"repvit": {"img_size": 256}}, **more,
    )  # fmt: skip
    manifest = Bundle.open(folder).manifest
    assert manifest.verification.passed
    assert (manifest.family, manifest.architecture) == ("sam", "repvit")
    with np.load(golden / "repvit_sam" / "small.npz") as stored:
        expected = dict(stored)
    options = RuntimeOptions(precision="fp32")
    with SAM(folder, runtime=runtime, device="cpu", options=options) as sam:
        embedding = sam.encode(photo, channel_order="rgb")
        found = {"image_embedding": embedding.image_embeddings}
        for name, prompt in PROMPTS.items():
            logits, scores = all_four(sam, embedding, prompt)
            found[f"{name}/low_res_logits_stride2"] = logits[None, :, ::2, ::2]
            found[f"{name}/iou_predictions"] = scores[None]
            answers = both_ways(sam, embedding, prompt)
            masks = np.concatenate([answer.data for answer in answers])
            wanted = np.unpackbits(expected[f"{name}/mask_bits"][0], axis=-1).astype(bool)
            both, either = (masks & wanted).sum((1, 2)), (masks | wanted).sum((1, 2))
            assert (both / either).min() >= 0.999
    for key, values in found.items():
        assert np.abs(values - expected[key]).max() <= 1e-4 * np.abs(expected[key]).max(), key


@pytest.mark.full_size
@pytest.mark.overnight
def test_published(golden: Path, photo: NDArray[np.uint8], tmp_path: Path) -> None:
    torch.save(seeded_state(golden / "repvit_sam" / "repvit_sam.json"), tmp_path / "repvit_sam.pt")
    folder = export(tmp_path / "repvit_sam.pt", "onnx", output=tmp_path / "bundle")
    manifest = Bundle.open(folder).manifest
    assert manifest.verification.passed
    assert manifest.architecture == "repvit_sam"
    with np.load(golden / "repvit_sam" / "full.npz") as stored:
        expected = dict(stored)
    with SAM(folder, runtime="onnxruntime", device="cpu") as sam:
        embedding = sam.encode(photo, channel_order="rgb")
        found = {"embedding_c16_s2": embedding.image_embeddings[:, ::16, ::2, ::2]}
        for name, prompt in PROMPTS.items():
            logits, scores = all_four(sam, embedding, prompt)
            found[f"{name}/low_res_logits_stride8"] = logits[None, :, ::8, ::8]
            found[f"{name}/iou_predictions"] = scores[None]
    for key, values in found.items():
        assert np.abs(values - expected[key]).max() <= 1e-4 * np.abs(expected[key]).max(), key
