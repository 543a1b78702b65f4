"""The torch modules against numbers of the official implementations.

Differences are relative to the largest reference value: at most 1e-4 in float32, as the fixtures'
own distance from float64 is a few times 1e-6.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from samdeploy.models import Sam, TinyVitConfig
from samdeploy.models.config import SamConfig, merge
from samdeploy.models.load import load_sam
from samdeploy.models.tiny_vit import TinyViT
from tests.golden_prompts import PROMPTS, decoder_inputs

TOLERANCE = 1e-4


def assert_close(found: Tensor, expected: NDArray[Any]) -> None:
    assert tuple(found.shape) == expected.shape
    assert np.abs(found.numpy() - expected).max() <= TOLERANCE * np.abs(expected).max()


@pytest.fixture(scope="module", autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def sam(small_checkpoint: Path, small_config: Path) -> Sam:
    return load_sam(small_checkpoint, config=small_config)


@pytest.fixture(scope="module")
def outputs(golden: Path) -> dict[str, NDArray[Any]]:
    with np.load(golden / "sam_vit_small" / "outputs.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def embedding(outputs: dict[str, NDArray[Any]]) -> Tensor:
    return torch.from_numpy(outputs["image_embedding"])


@contextmanager
def recorded(modules: list[nn.Module]) -> Iterator[list[Tensor]]:
    """What each module returns while the block runs."""
    found: list[Tensor] = []
    hooks = [
        module.register_forward_hook(lambda *args: found.append(args[2])) for module in modules
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


class TestVit:
    def test_every_stage(self, sam: Sam, outputs: dict[str, NDArray[Any]]) -> None:
        encoder = sam.image_encoder
        blocks = list(encoder.get_submodule("blocks").children())
        tokens: list[Tensor] = []
        hook = blocks[0].register_forward_pre_hook(lambda _, args: tokens.append(args[0]))
        with recorded(blocks) as stages:
            found = encoder(torch.from_numpy(outputs["input_tensor"]))
        hook.remove()
        assert_close(tokens[0], outputs["enc_tokens_0"])
        for index, stage in enumerate(stages, 1):
            assert_close(stage[:, ::2, ::2], outputs[f"enc_tokens_{index}"])
        assert_close(found, outputs["image_embedding"])

    def test_normalisation_is_part_of_encoding(
        self, sam: Sam, outputs: dict[str, NDArray[Any]]
    ) -> None:
        image = torch.from_numpy(outputs["input_tensor"]) * sam.pixel_std + sam.pixel_mean
        assert_close(sam.encode(image), outputs["image_embedding"])


class TestDecoder:
    def test_dense_positions(self, sam: Sam, outputs: dict[str, NDArray[Any]]) -> None:
        assert_close(sam.prompt_encoder.dense_positions(), outputs["dense_pe"])

    @pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt["name"])
    def test_prompt(
        self, sam: Sam, embedding: Tensor, outputs: dict[str, NDArray[Any]], prompt: dict[str, Any]
    ) -> None:
        name = prompt["name"]
        coords, labels, mask, has_mask = decoder_inputs(prompt, outputs)
        sparse = outputs[f"{name}/sparse_embeddings"]
        if sparse.shape[1]:
            assert_close(sam.prompt_encoder.sparse(coords, labels), sparse)
        if f"{name}/dense_embeddings" in outputs:
            assert_close(
                sam.prompt_encoder.dense(mask, has_mask), outputs[f"{name}/dense_embeddings"]
            )
        logits, iou = sam.decode(embedding, coords, labels, mask, has_mask)
        assert_close(logits, outputs[f"{name}/low_res_logits"])
        assert_close(iou, outputs[f"{name}/iou_predictions"])

    @pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt["name"])
    def test_absent_tokens_change_nothing(
        self, sam: Sam, embedding: Tensor, outputs: dict[str, NDArray[Any]], prompt: dict[str, Any]
    ) -> None:
        coords, labels, mask, has_mask = decoder_inputs(prompt, outputs)
        batch = len(coords)
        logits, iou = sam.decode(
            embedding,
            torch.cat([coords, torch.full((batch, 4, 2), 77.0)], dim=1),
            torch.cat([labels, torch.full((batch, 4), -2.0)], dim=1),
            mask,
            has_mask,
        )
        assert_close(logits, outputs[f"{prompt['name']}/low_res_logits"])
        assert_close(iou, outputs[f"{prompt['name']}/iou_predictions"])

    def test_a_padding_token_does_change_the_answer(
        self, sam: Sam, embedding: Tensor, outputs: dict[str, NDArray[Any]]
    ) -> None:
        coords, labels, mask, has_mask = decoder_inputs(PROMPTS[0], outputs)
        padded = [
            torch.cat([coords, torch.zeros(1, 1, 2)], dim=1),
            torch.cat([labels, torch.full((1, 1), -1.0)], dim=1),
        ]
        logits, _ = sam.decode(embedding, *padded, mask, has_mask)
        reference = outputs[f"{PROMPTS[0]['name']}/low_res_logits"]
        assert np.abs(logits.numpy() - reference).max() > 1e-2


def wrapper_prompts(golden_folder: Path) -> list[str]:
    listed = json.loads((golden_folder / "onnx_decoder_semantics.json").read_text())["prompts"]
    return [prompt["name"] for prompt in listed]


@pytest.mark.parametrize("name", wrapper_prompts(Path(__file__).parents[1] / "golden"))
def test_labels_mean_what_the_official_onnx_wrapper_says(
    golden: Path, sam: Sam, embedding: Tensor, name: str
) -> None:
    with np.load(golden / "onnx_decoder_outputs.npz") as stored:
        inputs = {
            key.removeprefix(f"{name}/in/"): torch.from_numpy(stored[key]).float()
            for key in stored.files
            if key.startswith(f"{name}/in/")
        }
        outputs = {
            key.removeprefix(f"{name}/"): stored[key]
            for key in stored.files
            if key.startswith(f"{name}/") and "/in/" not in key
        }
    coords, labels = inputs["point_coords"], inputs["point_labels"]
    batch = len(coords)
    mask = inputs.get("mask_input", torch.zeros(1, 1, 64, 64)).expand(batch, -1, -1, -1)
    has_mask = inputs.get("has_mask_input", torch.zeros(1)).expand(batch)
    logits, iou = sam.decode(embedding, coords, labels, mask, has_mask)
    compared = 0
    for key, expected in outputs.items():
        if expected.shape[1:2] != (4,):
            continue  # the wrapper's choice of one mask and its upscaling, which we do outside
        if key.endswith("/iou_predictions") and "stability" not in key:
            assert_close(iou, expected)
            compared += 1
        elif "low_res_masks" in key:
            stride = int(key.rsplit("_stride", 1)[1]) if "_stride" in key else 1
            assert_close(logits[..., ::stride, ::stride], expected)
            compared += 1
    assert compared


class TestTinyVit:
    @pytest.fixture(scope="class")
    @classmethod
    def weights(cls, golden: Path) -> dict[str, Tensor]:
        return load_file(golden / "mobile_sam_small" / "weights.safetensors")

    @pytest.fixture(scope="class")
    @classmethod
    def expected(cls, golden: Path) -> dict[str, NDArray[Any]]:
        with np.load(golden / "mobile_sam_small" / "outputs.npz") as stored:
            return dict(stored)

    @pytest.fixture(scope="class")
    @classmethod
    def encoder(cls, golden: Path) -> TinyViT:
        """Not loaded yet; the fixture's configuration is used as it is."""
        mapping = json.loads((golden / "mobile_sam_small" / "config.json").read_text())
        config = merge(SamConfig(TinyVitConfig()), mapping).image_encoder
        assert isinstance(config, TinyVitConfig)
        return TinyViT(replace(config, num_classes=0))

    def test_every_stage(
        self,
        encoder: TinyViT,
        weights: dict[str, Tensor],
        expected: dict[str, NDArray[Any]],
        outputs: dict[str, NDArray[Any]],
    ) -> None:
        # In this order a cached table of attention biases would be the untrained one.
        encoder.eval()
        encoder.load_state_dict(weights)
        modules = [encoder.patch_embed, *encoder.layers]
        with recorded(modules) as stages:
            found = encoder(torch.from_numpy(outputs["input_tensor"]))
        assert_close(found, expected["image_embedding"])
        assert_close(stages[0][:, :, ::4, ::4], expected["patch_embed_stride4"])
        for index, stage in enumerate(stages[1:]):
            tokens = stage.flatten(2).transpose(1, 2)[:, ::5]
            assert_close(tokens, expected[f"layer{index}_tokens_stride5"])

    def test_stale_biases_would_be_seen(self, expected: dict[str, NDArray[Any]]) -> None:
        stale = expected["image_embedding_stale_biases_stride4"]
        right = expected["image_embedding"][:, :, ::4, ::4]
        assert np.abs(stale - right).max() > 0.1
