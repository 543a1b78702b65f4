"""HQ-SAM's torch modules against numbers of the official implementation.

Differences are relative to the largest reference value: at most 1e-4 in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from samdeploy.models.hq import HqSam, load_hq_sam
from tests.golden_prompts import PROMPTS, decoder_inputs
from tests.hq_models import GOLDEN, config_of, hq_token_only, write_checkpoint

Arrays = dict[str, NDArray[Any]]

TOLERANCE = 1e-4
MODELS = ("small_vit", "small_light")
#: All prompts for the first model, some for the other.
SOME = ("one_point", "box_neg_point", "mask_point", "batch_points4x2")
ASKED = [
    pytest.param(model, prompt, id=f"{model}-{prompt['name']}")
    for model in MODELS
    for prompt in PROMPTS
    if model == MODELS[0] or prompt["name"] in SOME
]
#: Of the golden photograph: (height, width), and inside the encoder's input.
ORIGINAL, INPUT = (180, 240), (192, 256)


def assert_close(found: Tensor, expected: NDArray[Any]) -> None:
    assert tuple(found.shape) == expected.shape
    assert np.abs(found.numpy() - expected).max() <= TOLERANCE * np.abs(expected).max()


@dataclass
class Case:
    """A model and what the official one answered; ``only`` is the same model whose masks are the
    high-quality one alone."""

    sam: HqSam
    only: HqSam
    expected: Arrays


@pytest.fixture(scope="module", autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def inputs() -> Arrays:
    """The image, and masks that prompts have."""
    with np.load(GOLDEN.parent / "sam_vit_small" / "outputs.npz") as stored:
        wanted = ("input_tensor", "image_embedding", "mask_input")
        return {name: stored[name] for name in stored if name.endswith(wanted)}


@pytest.fixture(scope="module")
def case_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    @cache
    def make(name: str) -> Case:
        path, config = write_checkpoint(name, tmp_path_factory.mktemp(name)), config_of(name)
        sam = load_hq_sam(path, config=config)
        only = load_hq_sam(path, config=hq_token_only(config))
        with np.load(GOLDEN / f"{name}.npz") as stored:
            return Case(sam, only, dict(stored))

    return make


def image_of(sam: HqSam, inputs: Arrays) -> Tensor:
    """RGB in 0-255, as the graph takes it."""
    return torch.from_numpy(inputs["input_tensor"]) * sam.pixel_std + sam.pixel_mean


def stored_as(expected: Arrays, name: str, found: Tensor) -> tuple[Tensor, NDArray[Any]]:
    """``found`` in the strides in which ``name`` is stored, and what is stored."""
    if name in expected:
        return found, expected[name]
    return found[..., ::2, ::2], expected[f"{name}_stride2"]


def at_image_size(logits: Tensor) -> NDArray[np.bool_]:
    """Masks of the photograph, ``[B, M, h, w]``."""
    whole = F.interpolate(logits, (256, 256), mode="bilinear")[..., : INPUT[0], : INPUT[1]]
    return F.interpolate(whole, ORIGINAL, mode="bilinear").numpy() > 0


@pytest.mark.parametrize("model", MODELS)
def test_image_tensors(case_of: Callable[[str], Case], inputs: Arrays, model: str) -> None:
    case = case_of(model)
    sam, expected = case.sam, case.expected
    normalised = torch.from_numpy(inputs["input_tensor"])
    _, early = sam.image_encoder(normalised)
    assert_close(early.permute(0, 2, 3, 1)[:, ::2, ::2], expected["early_features_stride2"])
    embedding, features = sam.encode(image_of(sam, inputs))
    if "hq_features" in expected:
        assert_close(embedding, inputs["image_embedding"])
        assert_close(features, expected["hq_features"])
    else:
        assert_close(embedding[..., ::2, ::2], expected["image_embedding_stride2"])
        assert_close(features[..., ::4, ::4], expected["hq_features_stride4"])


@pytest.mark.parametrize(("model", "prompt"), ASKED)
@pytest.mark.parametrize("absent", [0, 3])
def test_logits(
    case_of: Callable[[str], Case], inputs: Arrays, model: str, prompt: dict[str, Any], absent: int
) -> None:
    """Of every mask, of the answers to both modes, and of the high-quality mask alone; tokens that
    are absent change nothing."""
    case, name = case_of(model), prompt["name"]
    expected = case.expected
    coords, labels, *masks = decoder_inputs(prompt, inputs)
    batch = len(coords)
    feeds = [
        *case.sam.encode(image_of(case.sam, inputs)),
        torch.cat([coords, torch.full((batch, absent, 2), 77.0)], dim=1),
        torch.cat([labels, torch.full((batch, absent), -2.0)], dim=1),
        *masks,
    ]
    logits, iou = case.sam.decode(*feeds)
    assert_close(iou, expected[f"{name}/iou_predictions"])
    found, parts = stored_as(expected, f"{name}/masks_and_hq", logits)
    assert_close(found, parts[:, :4] + parts[:, 4:])
    assert_close(*stored_as(expected, f"{name}/single_logits", logits[:, :1]))
    rows, best = torch.arange(batch), 1 + iou[:, 1:].argmax(1)
    assert_close(*stored_as(expected, f"{name}/multi_logits", logits[rows, best].unsqueeze(1)))
    assert_close(iou[rows, best].unsqueeze(1), expected[f"{name}/multi_iou"])
    alone, same_iou = case.only.decode(*feeds)
    assert torch.equal(same_iou, iou)
    found, parts = stored_as(expected, f"{name}/masks_and_hq", alone)
    assert_close(found, np.repeat(parts[:, 4:], 4, axis=1))


@pytest.mark.parametrize(("model", "prompt"), ASKED)
def test_masks(
    case_of: Callable[[str], Case], inputs: Arrays, model: str, prompt: dict[str, Any]
) -> None:
    """In pixels of the image."""
    case, name = case_of(model), prompt["name"]
    feeds = [*case.sam.encode(image_of(case.sam, inputs)), *decoder_inputs(prompt, inputs)]
    logits, iou = case.sam.decode(*feeds)
    rows, best = torch.arange(len(iou)), 1 + iou[:, 1:].argmax(1)
    answers = {
        "single": logits[:, :1],
        "multi": logits[rows, best].unsqueeze(1),
        "single_hq_only": case.only.decode(*feeds)[0][:, :1],
    }
    for mode, answer in answers.items():
        bits = case.expected[f"{name}/{mode}_bits"]
        wanted = np.unpackbits(bits, axis=-1, count=ORIGINAL[1]).astype(bool)
        found = at_image_size(answer)
        overlap = (found & wanted).sum((2, 3)) / (found | wanted).sum((2, 3))
        assert overlap.min() >= 0.999
