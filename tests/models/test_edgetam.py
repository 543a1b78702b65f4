"""EdgeTAM's torch modules against numbers of the official implementation.

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
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from samdeploy.errors import CheckpointError
from samdeploy.masks.single_mask import stable_mask
from samdeploy.models.config import RepVitTrunkConfig
from samdeploy.models.conv_norm import fold_norms
from samdeploy.models.sam2 import Sam2, Sam2Encoder, load_sam2
from samdeploy.models.sam2.config import PUBLISHED
from samdeploy.models.sam2.infer import infer_sam2_config
from samdeploy.models.sam2.names import VIDEO, image_keys, published_name
from tests.seeded import seeded_state, seeded_weight

Arrays = dict[str, NDArray[Any]]

GOLDEN = Path(__file__).parents[1] / "golden"
FOLDER = GOLDEN / "edgetam"
RECIPE = json.loads((FOLDER / "recipe.json").read_text())
PROMPTS = RECIPE["prompts"]["small"]
TRUNK = RepVitTrunkConfig((16, 24, 32, 40), (2, 1, 3, 1), norm_of_sum=False)


def assert_close(found: Tensor, expected: NDArray[Any]) -> None:
    assert tuple(found.shape) == expected.shape
    assert np.abs(found.numpy() - expected).max() <= 1e-4 * np.abs(expected).max()


def assert_same_score(found: Tensor, expected: NDArray[Any]) -> None:
    """A logit by itself, which may be near 0: as near as 1e-4 of the scores' own range, some 1."""
    assert found.shape == expected.shape
    assert np.abs(found.numpy() - expected).max() <= 1e-4


def stretched(side: int) -> Tensor:
    """``[1, 3, side, side]`` RGB in 0-255, resized in float: never rounded to 8 bits."""
    with Image.open(GOLDEN / "sam2" / "sam2_small" / "image.png") as image:
        channels = [
            band.convert("F").resize((side, side), Image.Resampling.BILINEAR)
            for band in image.convert("RGB").split()
        ]
    return torch.from_numpy(np.stack([np.asarray(band) for band in channels])[None])


def prompt_inputs(prompt: dict[str, Any], side: int) -> list[Tensor]:
    """With the padding token, and a mask where one is told."""
    coords = torch.tensor(prompt["prompt_encoder_coords"])
    labels = torch.tensor(prompt["prompt_encoder_labels"]).float()
    mask, disc = torch.zeros(1, 1, side // 4, side // 4), prompt["mask_input_disc_cx_cy_r"]
    if disc:
        x, y = np.meshgrid(np.arange(side // 4), np.arange(side // 4))
        cx, cy, radius = (side / 1024 * each for each in disc)
        logits = np.clip((radius - np.hypot(x - cx, y - cy)) * 0.5, -10, 10)
        mask = torch.from_numpy(logits.astype(np.float32))[None, None]
    return [
        torch.cat([coords, torch.zeros(1, 1, 2)], dim=1),
        torch.cat([labels, torch.full((1, 1), -1.0)], dim=1),
        mask,
        torch.tensor([float(disc is not None)]),
    ]


@pytest.fixture(scope="module", autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """The part for video, which is passed over, is of zeros."""
    listed = json.loads((FOLDER / "small.json").read_text())["keys"]
    shapes = {key: shape for key, (shape, _) in listed.items()}
    image = set(image_keys(shapes))
    return {
        key: seeded_weight(key, shape) if key in image else torch.zeros(shape)
        for key, shape in shapes.items()
    }


@pytest.fixture(scope="module")
def checkpoint(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("edgetam") / "small.pt"
    torch.save({"model": state}, path)
    return path


@pytest.fixture(scope="module")
def sam(checkpoint: Path) -> Sam2:
    return load_sam2(checkpoint, config={"image_size": 256})


@pytest.fixture(scope="module")
def expected() -> Arrays:
    with np.load(FOLDER / "small.npz") as stored:
        return dict(stored)


class TestSmall:
    def test_every_stage(self, sam: Sam2, expected: Arrays) -> None:
        for index, stage in enumerate(sam.stages(stretched(256))):
            step = (4, 2, 1, 1)[index]
            assert_close(stage[..., ::step, ::step], expected[f"stage_{index}"])

    @pytest.mark.parametrize("graph", [False, True])
    def test_image_tensors(self, sam: Sam2, expected: Arrays, graph: bool) -> None:
        embedding, fine, middle = (Sam2Encoder(sam) if graph else sam.encode)(stretched(256))
        assert_close(embedding[:, ::2], expected["image_embed"])
        assert_close(fine[:, ::2, ::4, ::4], expected["high_res_feat_0"])
        assert_close(middle[:, ::2, ::2, ::2], expected["high_res_feat_1"])

    @pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt["name"])
    def test_prompt(self, sam: Sam2, expected: Arrays, prompt: dict[str, Any]) -> None:
        """From the image on: logits and scores, masks in its pixels, and the one for one mask."""
        name = prompt["name"]
        logits, iou, score = sam.decode(*sam.encode(stretched(256)), *prompt_inputs(prompt, 256))
        assert_close(logits[..., ::2, ::2], expected[f"{name}/low_res_logits_stride2"])
        assert_close(iou, expected[f"{name}/iou_predictions"])
        assert_same_score(score, expected[f"{name}/object_score_logits"])
        assert stable_mask(logits.numpy(), iou.numpy()).tolist() == [prompt["single_mask_token"]]
        masks = F.interpolate(logits, (210, 300), mode="bilinear").numpy() > 0
        bits = expected[f"{name}/mask_bits"]
        wanted = np.unpackbits(bits, axis=-1, count=300).astype(bool)
        both, either = (masks & wanted).sum((2, 3)), (masks | wanted).sum((2, 3))
        assert (both / either).min() >= 0.999

    def test_folded(self, checkpoint: Path) -> None:
        """Batch norms and branches become plain convolutions, which compute the same."""
        sam = load_sam2(checkpoint, config={"image_size": 256}).double()
        image = stretched(256).double()
        expected = sam.encode(image)
        fold_norms(sam.image_encoder)
        for tensor, before in zip(sam.encode(image), expected, strict=True):
            assert (tensor - before).abs().max() <= 1e-9 * before.abs().max()
        kinds = [type(part) for part in sam.image_encoder.modules()]
        assert nn.BatchNorm2d not in kinds
        # 13 blocks of three, three steps with one more, four squeezes of two, stem, neck.
        assert kinds.count(nn.Conv2d) == 13 * 3 + 3 + 5 * 2 + 2 + 4

    def test_another_image_size(self, checkpoint: Path) -> None:
        embedding, fine, middle = load_sam2(checkpoint, imgsz=320).encode(
            torch.zeros(1, 3, 320, 320)
        )
        assert embedding.shape == (1, 256, 20, 20)
        assert (fine.shape, middle.shape) == ((1, 32, 80, 80), (1, 64, 40, 40))


@pytest.mark.parametrize("name", ["edgetam", "small"])
def test_architecture(name: str) -> None:
    """Every key is used, with its shape, or belongs to the part for video."""
    listed = json.loads((FOLDER / f"{name}.json").read_text())
    shapes = {key: shape for key, (shape, _) in listed["keys"].items()}
    with torch.device("meta"):
        config = infer_sam2_config({key: torch.empty(shape) for key, shape in shapes.items()})
        own = Sam2(config)
    used = {
        published_name(key, config.image_encoder.trunk): list(value.shape)
        for key, value in own.state_dict().items()
    }
    assert used == {key: shapes[key] for key in image_keys(shapes)}
    video = set(listed["top_level"]) - {key.split(".")[0] for key in used}
    assert video == VIDEO - {"obj_ptr_tpos_proj", "no_obj_embed_spatial"}
    counts = [sum(p.numel() for p in part.parameters()) for part in own.children()]
    parts = ("image_encoder", "prompt_encoder", "mask_decoder")
    assert counts == [listed[f"{part}_parameters"] for part in parts]
    if name == "edgetam":
        assert config == PUBLISHED[name]
        assert config.architecture == name
    else:
        assert config.image_encoder.trunk == TRUNK
        assert config.architecture == "edgetam_16x7"


def test_a_mapping_says_all(sam: Sam2, state: dict[str, Tensor]) -> None:
    mapping = json.loads(json.dumps(sam.config.to_mapping()))
    assert infer_sam2_config(state, mapping) == sam.config


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("image_encoder.trunk.body.stages_1.downsample.ffn.conv2.c.weight", "has no 'image_encod"),
        ("image_encoder.trunk.body.stages_2.blocks.2.se.fc1.bias", "has no 'image_encoder.trunk"),
        ("image_encoder.trunk.body.stages_3.blocks.0.channel_mixer.conv1.c.weight", "has no 'ima"),
    ],
)
def test_a_key_that_is_missing(
    state: dict[str, Tensor], tmp_path: Path, key: str, says: str
) -> None:
    torch.save({name: value for name, value in state.items() if name != key}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=says):
        load_sam2(tmp_path / "x.pt")


def test_a_trunk_of_another_kind(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="has an entry 'trunk'"):
        load_sam2(checkpoint, config={"trunk": {"depths": [2, 1, 3, 1]}})
    with pytest.raises(CheckpointError, match=r"config\['image_encoder'\]\['trunk'\] has no entry"):
        load_sam2(checkpoint, config={"image_encoder": {"trunk": {"stages": [1, 2, 7, 2]}}})
    with pytest.raises(CheckpointError, match="3 stages in the trunk and not 4"):
        load_sam2(checkpoint, config={"image_encoder": {"trunk": {"embed_dims": [8, 16, 24]}}})
    with pytest.raises(CheckpointError, match="4 widths and 3 depths, or fewer than 4 stages"):
        load_sam2(checkpoint, config={"image_encoder": {"trunk": {"depths": [2, 1, 3]}}})


@pytest.mark.full_size
def test_the_official_outputs_at_full_size(tmp_path: Path) -> None:
    torch.save({"model": seeded_state(FOLDER / "edgetam.json")}, tmp_path / "edgetam.pt")
    sam = load_sam2(tmp_path / "edgetam.pt")
    assert sam.config.architecture == "edgetam"
    fold_norms(sam.image_encoder)
    with np.load(FOLDER / "full.npz") as stored:
        expected = dict(stored)
    image = Sam2Encoder(sam)(stretched(1024))
    assert_close(image[0][:, ::16, ::2, ::2], expected["image_embed_c16_s2"])
    assert_close(image[0][:, :, ::8, ::8], expected["image_embed_s8"])
    for level in (0, 1):
        name = f"high_res_feat_{level}"
        assert_close(image[1 + level][..., ::16, ::16], expected[f"{name}_s16"])
        means = image[1 + level].double().mean((0, 2, 3))
        assert_close(means, expected[f"{name}_channel_mean"])
    for prompt in RECIPE["prompts"]["full"]:
        name = prompt["name"]
        logits, iou, score = sam.decode(*image, *prompt_inputs(prompt, 1024))
        assert_close(logits[..., ::8, ::8], expected[f"{name}/low_res_logits_stride8"])
        assert_close(iou, expected[f"{name}/iou_predictions"])
        assert_same_score(score, expected[f"{name}/object_score_logits"])
        assert stable_mask(logits.numpy(), iou.numpy()).tolist() == [prompt["single_mask_token"]]
