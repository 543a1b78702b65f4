"""SAM 2's graphs can be traced and exported, and compute then what they compute in torch."""

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

from samdeploy.models.sam2 import Sam2, Sam2Decoder, Sam2Encoder, load_sam2
from samdeploy.models.sam2.restructured import Sam2MaskHead, Sam2Prepare, Sam2Scorer

pytestmark = pytest.mark.exporting

PROMPTS = {"point_coords": {0: "prompts", 1: "points"}, "point_labels": {0: "prompts", 1: "points"}}
IMAGE = ["image_embeddings", "high_res_feats_0", "high_res_feats_1"]
PREPARED = ["image_keys", "image_values", "image_norms"]
FEATURES = ["image_features", "high_res_tokens_0", "high_res_tokens_1"]
WANTED = ["mask_tokens", "mask_scale", "mask_weights", "mask_values"]

Graph = tuple[nn.Module, dict[str, Tensor], dict[str, dict[int, str]]]


@pytest.fixture(scope="module")
def sam(golden: Path, sam2_config: dict[str, Any]) -> Sam2:
    weights = golden / "sam2" / "sam2_small" / "weights.safetensors"
    return load_sam2(weights, config=sam2_config)


def prompts(rows: int, points: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(rows)
    return {
        "point_coords": torch.rand(rows, points, 2, generator=generator) * 256,
        "point_labels": torch.randint(-2, 4, (rows, points), generator=generator).float(),
    }


@pytest.fixture(scope="module")
def graphs(sam: Sam2) -> dict[str, Graph]:
    """Module, inputs and dynamic axes of each."""
    image = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(7)) * 255
    with torch.inference_mode():
        features = dict(zip(IMAGE, sam.encode(image), strict=True))
        prepared = dict(zip(PREPARED + FEATURES, Sam2Prepare(sam)(*features.values()), strict=True))
        shared = {name: prepared[name] for name in PREPARED}
        scored = Sam2Scorer(sam)(*shared.values(), *prompts(2, 3).values())
        wanted = dict(zip(WANTED, scored[2:], strict=True))
    masks = {
        "mask_input": torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(8)),
        "has_mask_input": torch.tensor([0.0, 1.0]),
    }
    rows = {name: {0: "prompts"} for name in (*masks, *WANTED)}
    return {
        "encoder": (Sam2Encoder(sam), {"image": image}, {}),
        "decoder": (
            Sam2Decoder(sam),
            {**features, **prompts(2, 3), **masks},
            {**PROMPTS, **{name: rows[name] for name in masks}},
        ),
        "prepare": (Sam2Prepare(sam), features, {}),
        "scorer": (Sam2Scorer(sam), {**shared, **prompts(2, 3)}, PROMPTS),
        "mask_head": (
            Sam2MaskHead(sam),
            {**{name: prepared[name] for name in FEATURES}, **wanted},
            {name: rows[name] for name in WANTED},
        ),
    }


ROLES = ["encoder", "decoder", "prepare", "scorer", "mask_head"]


def assert_close(found: Any, expected: Tensor | tuple[Tensor, ...]) -> None:
    expected = expected if isinstance(expected, tuple) else (expected,)
    for tensor, wanted in zip(found, expected, strict=True):
        assert tuple(tensor.shape) == tuple(wanted.shape)
        assert (torch.as_tensor(tensor) - wanted).abs().max() <= 1e-4 * wanted.abs().max()


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
    with torch.inference_mode():
        assert_close(
            session.run(None, {name: value.numpy() for name, value in inputs.items()}),
            module(*inputs.values()),
        )
        if role in ("decoder", "scorer"):  # another number of prompts and of points
            rows = {name: value[:1] for name, value in inputs.items() if "mask_input" in name}
            inputs = {**inputs, **rows, **prompts(1, 5)}
            feeds = {name: value.numpy() for name, value in inputs.items()}
            assert_close(session.run(None, feeds), module(*inputs.values()))


@pytest.mark.exporting
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
