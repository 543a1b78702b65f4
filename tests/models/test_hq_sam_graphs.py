"""HQ-SAM's graphs can be traced and exported, and compute then what they compute in torch."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from samdeploy.models.hq import HqDecoder, HqEncoder, HqSam, load_hq_sam
from samdeploy.models.hq.restructured import HqMaskHead, HqPrepare
from samdeploy.models.restructured import Scorer
from tests.hq_models import config_of, write_checkpoint

pytestmark = pytest.mark.exporting

PROMPTS = {"point_coords": {0: "prompts", 1: "points"}, "point_labels": {0: "prompts", 1: "points"}}
IMAGE = ["image_embeddings", "hq_features"]
PREPARED = ["image_keys", "image_values", "image_norms"]
FEATURES = ["image_features", "hq_tokens"]
WANTED = ["mask_tokens", "mask_scale", "mask_weights", "mask_values"]

Graph = tuple[nn.Module, dict[str, Tensor], dict[str, dict[int, str]]]


@pytest.fixture(scope="module")
def sam(tmp_path_factory: pytest.TempPathFactory) -> HqSam:
    path = write_checkpoint("small_vit", tmp_path_factory.mktemp("hq"))
    return load_hq_sam(path, config=config_of("small_vit"))


def prompts(rows: int, points: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(rows)
    return {
        "point_coords": torch.rand(rows, points, 2, generator=generator) * 256,
        "point_labels": torch.randint(-2, 4, (rows, points), generator=generator).float(),
    }


@pytest.fixture(scope="module")
def graphs(sam: HqSam) -> dict[str, Graph]:
    """Module, inputs and dynamic axes of each."""
    image = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(7)) * 255
    with torch.inference_mode():
        features = dict(zip(IMAGE, sam.encode(image), strict=True))
        prepared = dict(zip(PREPARED + FEATURES, HqPrepare(sam)(*features.values()), strict=True))
        shared = {name: prepared[name] for name in PREPARED}
        scored = Scorer(sam)(*shared.values(), *prompts(2, 3).values())
        wanted = dict(zip(WANTED, scored[1:], strict=True))
    masks = {
        "mask_input": torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(8)),
        "has_mask_input": torch.tensor([0.0, 1.0]),
    }
    rows = {name: {0: "prompts"} for name in (*masks, *WANTED)}
    part = {name: {0: "rows", 1: "columns"} for name in FEATURES}
    positions = {name: {0: "prompts", 2: "positions"} for name in ("mask_scale", "mask_weights")}
    return {
        "encoder": (HqEncoder(sam), {"image": image}, {}),
        "decoder": (
            HqDecoder(sam),
            {**features, **prompts(2, 3), **masks},
            {**PROMPTS, **{name: rows[name] for name in masks}},
        ),
        "prepare": (HqPrepare(sam), features, {}),
        "scorer": (Scorer(sam), {**shared, **prompts(2, 3)}, PROMPTS),
        "mask_head": (
            HqMaskHead(sam),
            {**{name: prepared[name] for name in FEATURES}, **wanted},
            {**{name: rows[name] for name in WANTED}, **part, **positions},
        ),
    }


ROLES = ["encoder", "decoder", "prepare", "scorer", "mask_head"]


def assert_close(found: Any, expected: Tensor | tuple[Tensor, ...]) -> None:
    expected = expected if isinstance(expected, tuple) else (expected,)
    for tensor, wanted in zip(found, expected, strict=True):
        assert tuple(tensor.shape) == tuple(wanted.shape)
        assert (torch.as_tensor(tensor) - wanted).abs().max() <= 1e-4 * wanted.abs().max()


def another(role: str, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Other dynamic sizes: of prompts and points, or of the part of the image."""
    if role == "mask_head":
        part = {name: inputs[name][:9, :12] for name in FEATURES}
        cut = {
            name: inputs[name].unflatten(2, (16, 16))[:, :, :9, :12].flatten(2)
            for name in ("mask_scale", "mask_weights")
        }
        return {**inputs, **part, **cut}
    rows = {name: value[:1] for name, value in inputs.items() if "mask_input" in name}
    return {**inputs, **rows, **prompts(1, 5)}


@pytest.mark.parametrize("role", ROLES)
def test_onnx(graphs: dict[str, Graph], tmp_path: Path, role: str) -> None:
    module, inputs, dynamic = graphs[role]
    path = tmp_path / f"{role}.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            tuple(inputs.values()),
            path,
            dynamo=False,
            opset_version=17,
            input_names=list(inputs),
            dynamic_axes=dynamic,
        )
    onnx.checker.check_model(str(path), full_check=True)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    asked = [inputs, another(role, inputs)] if dynamic else [inputs]
    with torch.inference_mode():
        for each in asked:
            feeds = {name: value.numpy() for name, value in each.items()}
            assert_close(session.run(None, feeds), module(*each.values()))


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_torch_export(graphs: dict[str, Graph], role: str) -> None:
    module, inputs, _ = graphs[role]
    feeds = tuple(value.clone() for value in inputs.values())
    exported = torch.export.export(module, feeds)
    with torch.inference_mode():
        found = exported.module()(*feeds)
        assert_close(found if isinstance(found, tuple) else (found,), module(*feeds))


class RankMode(TorchDispatchMode):
    """Remembers the largest rank of any tensor that an operator returns."""

    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(value, Tensor):
                self.largest = max(self.largest, value.ndim)
        return result


@pytest.mark.parametrize("role", ROLES)
def test_no_tensor_has_more_than_five_dimensions(graphs: dict[str, Graph], role: str) -> None:
    module, inputs, _ = graphs[role]
    with torch.no_grad(), RankMode() as ranks:
        module(*inputs.values())
    assert ranks.largest <= 5
