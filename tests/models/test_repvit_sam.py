"""RepViT-SAM's torch modules against numbers of the official implementation.

Differences are relative to the largest reference value: at most 1e-4 in float32.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from samdeploy.constants import PIXEL_MEAN
from samdeploy.errors import CheckpointError
from samdeploy.graphs import ENCODER
from samdeploy.models import RepVitConfig, Sam, SamConfig, graph_modules
from samdeploy.models.config import PUBLISHED, MaskDecoderConfig, TransformerConfig
from samdeploy.models.conv_norm import BranchedDepthwise
from samdeploy.models.hq.load import infer_hq_config
from samdeploy.models.infer import infer_config
from samdeploy.models.load import load, load_sam
from samdeploy.models.repvit import Trunk
from tests.seeded import seeded_state

Arrays = dict[str, NDArray[Any]]

GOLDEN = Path(__file__).parents[1] / "golden"
FOLDER = GOLDEN / "repvit_sam"
CONFIG = {"repvit": {"img_size": 256}}
SMALL = SamConfig(
    RepVitConfig(embed_dims=(16, 24, 320, 40), depths=(2, 1, 3, 2), img_size=256),
    mask_decoder=MaskDecoderConfig(
        iou_head_hidden_dim=64, transformer=TransformerConfig(mlp_dim=128)
    ),
)
PROMPTS = [
    prompt
    for prompt in json.loads((GOLDEN / "sam_vit_small" / "prompts.json").read_text())["prompts"]
    if prompt["name"]
    in ("one_point", "three_points", "box_neg_point", "mask_point", "mask_only", "batch_boxes5")
]


def assert_close(found: Tensor, expected: NDArray[Any]) -> None:
    assert tuple(found.shape) == expected.shape
    assert np.abs(found.numpy() - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.fixture(scope="module", autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("repvit") / "small.pt"
    torch.save(seeded_state(FOLDER / "small.json"), path)
    return path


@pytest.fixture(scope="module")
def sam(checkpoint: Path) -> Sam:
    return load_sam(checkpoint, config=CONFIG)


@pytest.fixture(scope="module")
def expected() -> Arrays:
    with np.load(FOLDER / "small.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def inputs() -> Arrays:
    with np.load(GOLDEN / "sam_vit_small" / "outputs.npz") as stored:
        return dict(stored)


def decoder_inputs(prompt: dict[str, Any], inputs: Arrays) -> list[Tensor]:
    """Points, then box corners, then SAM's padding point or, for a mask alone, an absent one."""
    batch = prompt["batch"]
    points, boxes = prompt["point_coords_transformed"], prompt["boxes_transformed"]
    coords = [np.array(each, np.float32).reshape(batch, -1, 2) for each in (points, boxes) if each]
    labels = [np.array(prompt["point_labels"], np.float32).reshape(batch, -1)] if points else []
    labels += [np.tile(np.array([[2, 3]], np.float32), (batch, 1))] if boxes else []
    if prompt["has_padding_point"] or not coords:
        coords.append(np.zeros((batch, 1, 2), np.float32))
        labels.append(np.full((batch, 1), -1 if points else -2, np.float32))
    mask = inputs.get(f"{prompt['name']}/mask_input", np.zeros((batch, 1, 64, 64), np.float32))
    return [
        torch.from_numpy(np.concatenate(coords, axis=1)),
        torch.from_numpy(np.concatenate(labels, axis=1)),
        torch.from_numpy(mask.reshape(batch, 1, 64, 64)),
        torch.full((batch,), float(prompt["mask_input"] is not None)),
    ]


class TestSmall:
    def test_every_block(self, sam: Sam, inputs: Arrays, expected: Arrays) -> None:
        x = torch.from_numpy(inputs["input_tensor"])
        blocks = sam.image_encoder.get_submodule("features").children()
        for index, block in enumerate(blocks):
            x = block(x)
            channels, pixels = 16 if x.shape[1] == 320 else 2, 4 if index < 4 else 2
            assert_close(x[:, ::channels, ::pixels, ::pixels], expected[f"features_{index}"])
        assert index == 14

    @pytest.mark.parametrize("graph", [False, True])
    def test_embedding(self, sam: Sam, inputs: Arrays, expected: Arrays, graph: bool) -> None:
        image = torch.from_numpy(inputs["input_tensor"]) * sam.pixel_std + sam.pixel_mean
        encode = graph_modules(sam)[ENCODER].module if graph else sam.encode
        assert_close(encode(image), expected["image_embedding"])

    @pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt["name"])
    def test_prompt(
        self, sam: Sam, inputs: Arrays, expected: Arrays, prompt: dict[str, Any]
    ) -> None:
        name = prompt["name"]
        embedding = torch.from_numpy(expected["image_embedding"])
        logits, iou = sam.decode(embedding, *decoder_inputs(prompt, inputs))
        assert_close(logits[..., ::2, ::2], expected[f"{name}/low_res_logits_stride2"])
        assert_close(iou, expected[f"{name}/iou_predictions"])

    @pytest.mark.parametrize("name", ["one_point", "box_neg_point"])
    def test_masks(self, sam: Sam, inputs: Arrays, expected: Arrays, name: str) -> None:
        """In pixels of the image, from the image on."""
        [prompt] = [each for each in PROMPTS if each["name"] == name]
        image = torch.from_numpy(inputs["input_tensor"]) * sam.pixel_std + sam.pixel_mean
        logits, _ = sam.decode(sam.encode(image), *decoder_inputs(prompt, inputs))
        large = F.interpolate(logits, (256, 256), mode="bilinear")[..., :192, :]
        masks = F.interpolate(large, (180, 240), mode="bilinear").numpy() > 0
        wanted = np.unpackbits(expected[f"{name}/mask_bits"], axis=-1).astype(bool)
        both, either = (masks & wanted).sum((2, 3)), (masks | wanted).sum((2, 3))
        assert (both / either).min() >= 0.999

    def test_another_image_size(self, checkpoint: Path) -> None:
        sam = load_sam(checkpoint, imgsz=320)
        assert sam.encode(torch.zeros(1, 3, 320, 320)).shape == (1, 256, 20, 20)


class TestArchitecture:
    def test_small(self, sam: Sam) -> None:
        assert sam.config == SMALL
        assert sam.config.architecture == "repvit"

    def test_published(self) -> None:
        listed = json.loads((FOLDER / "repvit_sam.json").read_text())
        keys = {key: tuple(shape) for key, (shape, _) in listed["keys"].items()}
        with torch.device("meta"):
            sam = Sam(PUBLISHED["repvit_sam"])
        assert {key: tuple(value.shape) for key, value in sam.state_dict().items()} == keys
        counts = [sum(p.numel() for p in part.parameters()) for part in (sam, sam.image_encoder)]
        assert counts == [listed["total_parameters"], listed["encoder_parameters"]]
        found = infer_config(
            {key: torch.empty(shape, device="meta") for key, shape in keys.items()}
        )
        assert found == PUBLISHED["repvit_sam"]
        assert found.architecture == "repvit_sam"

    @pytest.mark.parametrize(
        "encoder",
        [
            RepVitConfig(embed_dims=(8, 16, 24), depths=(1, 1, 1), out_chans=32),
            RepVitConfig(embed_dims=(8, 8, 8, 8), depths=(3, 2, 1, 2), norm_of_sum=False),
        ],
    )
    def test_others_are_inferred(self, encoder: RepVitConfig) -> None:
        config = SamConfig(encoder)
        with torch.device("meta"):
            state = Sam(config).state_dict()
        assert infer_config(state) == config
        small = SamConfig(replace(encoder, img_size=256))
        assert infer_config(state, small.to_mapping()) == small

    def test_too_few_stages(self) -> None:
        with torch.device("meta"):
            state = Sam(SamConfig(RepVitConfig(embed_dims=(8, 16), depths=(1, 1)))).state_dict()
        with pytest.raises(CheckpointError, match="or fewer than 3 stages; expected"):
            infer_config(state)

    def test_hq_sam_has_none(self) -> None:
        with torch.device("meta"):
            state = Sam(SMALL).state_dict()
        with pytest.raises(CheckpointError, match="with early features of a RepViT, which HQ-SAM"):
            infer_hq_config(state)

    def test_a_block_that_is_missing(self, checkpoint: Path, tmp_path: Path) -> None:
        state = torch.load(checkpoint)
        del state["image_encoder.features.10.token_mixer.1.fc1.weight"]
        torch.save(state, tmp_path / "part.pt")
        with pytest.raises(CheckpointError, match=r"has no 'image_encoder.features.10.token_mixer"):
            load_sam(tmp_path / "part.pt")


class TestMerged:
    """What is exported has one convolution where training has three branches."""

    @pytest.mark.parametrize("norm_of_sum", [True, False])
    def test_one_convolution(self, norm_of_sum: bool) -> None:
        torch.manual_seed(0)
        block = BranchedDepthwise(6, norm_of_sum).double().eval()
        for tensor in (*block.parameters(), *block.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + 0.5)
        x = torch.randn(2, 6, 9, 7, dtype=torch.float64)
        expected = block(x)
        block.merge()
        assert [name for name, _ in block.named_parameters()] == ["conv.c.weight", "conv.c.bias"]
        for _ in range(2):
            assert (block(x) - expected).abs().max() <= 1e-9 * expected.abs().max()
            block.merge()  # once more changes nothing

    def test_the_whole_encoder(self, checkpoint: Path) -> None:
        sam = load_sam(checkpoint, config=CONFIG).double()
        image = 255 * torch.rand(1, 3, 256, 256, dtype=torch.float64)
        encoder = graph_modules(sam)[ENCODER].module
        found, expected = encoder(image), sam.encode(image)
        assert (found - expected).abs().max() <= 1e-9 * expected.abs().max()
        kinds = [type(part) for part in encoder.get_submodule("sam.image_encoder").modules()]
        # Per block: one depthwise, two of the channel mixer; a step to the next stage has one
        # more, a squeeze two, the stem and the neck two each.
        assert kinds.count(nn.Conv2d) == 14 * 3 + 3 + 5 * 2 + 2 + 2
        assert nn.BatchNorm2d not in kinds
        assert any(isinstance(part, nn.BatchNorm2d) for part in sam.modules())

    def test_layers_are_named_as_in_the_graph(self, checkpoint: Path) -> None:
        loaded = load(checkpoint, config=CONFIG)
        parts = dict(loaded.graphs[ENCODER].module.named_modules())
        kinds = [type(parts[f"sam.{layer}"]) for layer in loaded.layers]
        assert kinds == [nn.Conv2d] * len(kinds)
        assert len(kinds) == 59


def test_strides_of_a_trunk() -> None:
    trunk = Trunk(RepVitConfig(embed_dims=(8, 16, 24, 32), depths=(1, 2, 1, 1)), (2, 2, 2)).eval()
    sides = [tuple(stage.shape[1:]) for stage in trunk(torch.zeros(1, 3, 64, 64))]
    assert sides == [(8, 16, 16), (16, 8, 8), (24, 4, 4), (32, 2, 2)]


@pytest.mark.full_size
@pytest.mark.overnight
def test_the_official_outputs_at_full_size(tmp_path: Path) -> None:
    torch.save({"model": seeded_state(FOLDER / "repvit_sam.json")}, tmp_path / "repvit_sam.pt")
    loaded = load(tmp_path / "repvit_sam.pt")
    assert loaded.facts.architecture == "repvit_sam"
    with Image.open(GOLDEN / "sam_vit_small" / "image.png") as image:
        resized = np.asarray(image.convert("RGB").resize((1024, 768), Image.Resampling.BILINEAR))
    padded = np.full((1024, 1024, 3), PIXEL_MEAN, np.float32)
    padded[:768] = resized
    with np.load(FOLDER / "full.npz") as stored:
        expected = dict(stored)
    embedding = loaded.graphs[ENCODER].module(torch.from_numpy(padded.transpose(2, 0, 1)[None]))
    assert_close(embedding[:, ::16, ::2, ::2], expected["embedding_c16_s2"])
    assert_close(embedding[:, :, ::8, ::8], expected["embedding_s8"])
    recipe = json.loads((GOLDEN / "full_seeded" / "recipe.json").read_text())
    for prompt in recipe["prompts"]["vit_t"][:2]:
        name = prompt["name"]
        coords = torch.tensor(prompt["point_coords_transformed"])[None].float()
        labels = torch.tensor(prompt["point_labels"])[None].float()
        box = prompt["box_transformed"]
        more = torch.tensor(box).reshape(1, 2, 2) if box else torch.zeros(1, 1, 2)
        kinds = torch.tensor([[2.0, 3.0]]) if box else torch.tensor([[-1.0]])
        logits, iou = loaded.graphs["decoder"].module(
            embedding, torch.cat([coords, more], 1), torch.cat([labels, kinds], 1),
            torch.zeros(1, 1, 256, 256), torch.zeros(1),
        )  # fmt: skip
        assert_close(logits[..., ::8, ::8], expected[f"{name}/low_res_logits_stride8"])
        assert_close(iou, expected[f"{name}/iou_predictions"])
