"""SAM 2's torch modules against numbers of the official implementation.

Differences are relative to the largest reference value: at most 1e-4 in float32.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from samdeploy.masks.single_mask import stable_mask
from samdeploy.models.sam2 import Sam2, Sam2Encoder, load_sam2
from samdeploy.models.sam2.hiera import Hiera

Arrays = dict[str, NDArray[Any]]

GOLDEN = Path(__file__).parents[1] / "golden" / "sam2" / "sam2_small"
STORED = json.loads((GOLDEN / "prompts.json").read_text())
PROMPTS = STORED["prompts"]
TOLERANCE = 1e-4


def assert_close(found: Tensor, expected: NDArray[Any]) -> None:
    assert tuple(found.shape) == expected.shape
    assert np.abs(found.numpy() - expected).max() <= TOLERANCE * np.abs(expected).max()


@pytest.fixture(scope="module", autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def outputs() -> Arrays:
    with np.load(GOLDEN / "outputs.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def sam(sam2_config: dict[str, Any]) -> Sam2:
    return load_sam2(GOLDEN / "weights.safetensors", config=sam2_config)


def image_of(sam: Sam2, outputs: Arrays) -> Tensor:
    """RGB in 0-255, as the graph takes it."""
    return torch.from_numpy(outputs["input_tensor"]) * sam.pixel_std + sam.pixel_mean


def features(outputs: Arrays) -> list[Tensor]:
    names = ("image_embed", "high_res_feat_0", "high_res_feat_1")
    return [torch.from_numpy(outputs[name]) for name in names]


def decoder_inputs(prompt: dict[str, Any], outputs: Arrays) -> list[Tensor]:
    """Feeds of a fixture's prompt: box corners, then points, then the padding token."""
    batch = prompt["batch"]
    stored = [prompt["boxes_transformed"], prompt["point_coords_transformed"]]
    coords = [np.array(each, np.float32).reshape(batch, -1, 2) for each in stored if each]
    labels = [np.array(prompt["prompt_encoder_labels"] or np.zeros((batch, 0)), np.float32)]
    # A mask alone has no token.
    coords.append(np.zeros((batch, 1, 2), np.float32))
    labels.append(np.full((batch, 1), -1 if prompt["has_padding_point"] else -2, np.float32))
    mask = outputs.get(f"{prompt['name']}/mask_input", np.zeros((batch, 1, 64, 64), np.float32))
    return [
        torch.from_numpy(np.concatenate(coords, axis=1)),
        torch.from_numpy(np.concatenate(labels, axis=1)),
        torch.from_numpy(mask),
        torch.full((batch,), float(prompt["mask_input"] is not None)),
    ]


class TestEncoder:
    def test_every_block(self, sam: Sam2, outputs: Arrays) -> None:
        trunk, found = sam.image_encoder.trunk, list[Tensor]()
        assert isinstance(trunk, Hiera)
        hooks = [
            trunk.blocks[0].register_forward_pre_hook(lambda _, args: found.append(args[0])),
            *(
                block.register_forward_hook(lambda _, args, out: found.append(out))
                for block in trunk.blocks
            ),
        ]
        stages = trunk(torch.from_numpy(outputs["input_tensor"]))
        for hook in hooks:
            hook.remove()
        assert len(found) == 10
        for index, tokens in enumerate(found):
            step = STORED["strides"][f"trunk_{index}"]["stride"]
            assert_close(tokens[:, ::step, ::step], outputs[f"trunk_{index}"])
        for level in range(2):
            pyramid = sam.image_encoder.neck.lateral(level)(stages[level])
            step = STORED["strides"][f"fpn_{level}"]["stride"]
            assert_close(pyramid[..., ::step, ::step], outputs[f"fpn_{level}"])

    @pytest.mark.parametrize("graph", [False, True])
    def test_outputs(self, sam: Sam2, outputs: Arrays, graph: bool) -> None:
        found = (Sam2Encoder(sam) if graph else sam.encode)(image_of(sam, outputs))
        for tensor, expected in zip(found, features(outputs), strict=True):
            assert_close(tensor, expected.numpy())

    def test_another_image_size(self, sam2_config: dict[str, Any]) -> None:
        sam = load_sam2(GOLDEN / "weights.safetensors", config=sam2_config, imgsz=320)
        embedding, fine, middle = sam.encode(torch.zeros(1, 3, 320, 320))
        assert embedding.shape == (1, 64, 20, 20)
        assert (fine.shape, middle.shape) == ((1, 8, 80, 80), (1, 16, 40, 40))


class TestDecoder:
    def test_dense_positions(self, sam: Sam2, outputs: Arrays) -> None:
        assert_close(sam.prompt_encoder.dense_positions(), outputs["dense_pe"])

    @pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt["name"])
    @pytest.mark.parametrize("absent", [0, 3])
    def test_prompt(self, sam: Sam2, outputs: Arrays, prompt: dict[str, Any], absent: int) -> None:
        """All four masks; tokens that are absent change nothing."""
        name, batch = prompt["name"], prompt["batch"]
        coords, labels, mask, has_mask = decoder_inputs(prompt, outputs)
        coords = torch.cat([coords, torch.full((batch, absent, 2), 77.0)], dim=1)
        labels = torch.cat([labels, torch.full((batch, absent), -2.0)], dim=1)
        logits, iou, score = sam.decode(*features(outputs), coords, labels, mask, has_mask)
        assert_close(iou, outputs[f"{name}/iou_predictions"])
        if name == "label_2_3":
            name = "box"  # they are the corners of that box, and the answers the same
        sparse = sam.prompt_encoder.sparse(coords, labels)[:, : prompt["n_sparse_tokens"]]
        if prompt["n_sparse_tokens"]:
            assert_close(sparse, outputs[f"{name}/sparse_embeddings"])
        if f"{name}/dense_embeddings" in outputs:
            dense = sam.prompt_encoder.dense(mask, has_mask)
            assert_close(dense, outputs[f"{name}/dense_embeddings"])
        step = 2 if batch > 1 else 1
        stored = outputs[f"{name}/low_res_logits" + ("_stride2" if batch > 1 else "")]
        assert_close(logits[..., ::step, ::step], stored)
        assert_close(score, outputs[f"{name}/object_score_logits"])

    @pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt["name"])
    def test_masks(self, sam: Sam2, outputs: Arrays, prompt: dict[str, Any]) -> None:
        """In pixels of the image, from the image on: all masks, and the one for one mask."""
        name = "box" if prompt["name"] == "label_2_3" else prompt["name"]
        inputs = decoder_inputs(prompt, outputs)
        logits, iou, _ = sam.decode(*sam.encode(image_of(sam, outputs)), *inputs)
        chosen = stable_mask(logits.numpy(), iou.numpy())
        assert chosen.tolist() == prompt["single_mask"]["source_token"]
        height, width = STORED["original_size_hw"]
        masks = F.interpolate(logits, (height, width), mode="bilinear").numpy() > 0
        wanted = np.unpackbits(outputs[f"{name}/mask_bits"], axis=-1, count=width).astype(bool)
        assert (masks != wanted).sum((2, 3)).max() <= 6
        single = np.unpackbits(outputs[f"{name}/single_mask_bits"], axis=-1, count=width)
        rows = np.arange(len(chosen))
        assert (masks[rows, chosen] != single[:, 0].astype(bool)).sum((1, 2)).max() <= 6
        assert_close(iou[rows, torch.from_numpy(chosen), None], outputs[f"{name}/single_iou"])


def test_choice_of_one_mask(outputs: Arrays) -> None:
    """At the threshold, of an empty mask, of logits on the offset, of equal scores."""
    iou = outputs["dynamic/iou_predictions"]
    chosen = stable_mask(outputs["dynamic/low_res_logits"], iou)
    assert chosen.tolist() == outputs["dynamic/source_token"].tolist()
    assert iou[np.arange(6), chosen].tolist() == outputs["dynamic/iou"][:, 0].tolist()
