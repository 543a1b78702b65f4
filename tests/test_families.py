"""A family of models from outside: all that it takes is here, and no file of the repository knows
it. A toy finds the pixels of an image that are brighter than each of some levels."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import samdeploy.libraries
from samdeploy import SAM, YOLO, BundleError, InputError, export
from samdeploy.bundle import Bundle, VerificationRecord
from samdeploy.contracts import Contract
from samdeploy.exporting.verify import verify_bundle
from samdeploy.families import GROUP, Family, dynamic, families, resolve
from samdeploy.models import GraphModule, LoadedModel, ModelFacts
from samdeploy.opening import class_of, open_graphs, own_runtime
from samdeploy.precision import FP32
from samdeploy.schemes import gate
from samdeploy.session import RuntimeOptions, Session, TensorSpec

SIDE = 8
_BRIGHTNESS = TensorSpec("toy_brightness", (SIDE, SIDE))
CONTRACT = Contract(
    graphs=(("toy_encoder", "toy_head"),),
    tensors={
        "toy_encoder": ((TensorSpec("toy_image", (1, 3, SIDE, SIDE)),), (_BRIGHTNESS,)),
        "toy_head": (
            (_BRIGHTNESS, TensorSpec("toy_levels", ("levels",))),
            (TensorSpec("toy_logits", ("levels", SIDE, SIDE)),),
        ),
    },
    meanings={
        "toy_image": "RGB in 0-255",
        "toy_brightness": "weighted sum of the channels",
        "toy_levels": "brightness above which a pixel is found, one for each prompt",
        "toy_logits": "a pixel is found when its logit is above 0",
    },
    image="toy_image",
    per_call=("levels",),
)


# In torch: a checkpoint is JSON, three weights.


class Encoder(nn.Module):
    def __init__(self, weights: list[float]) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights).reshape(3, 1, 1), requires_grad=False)

    def forward(self, image: Tensor) -> Tensor:
        return (image[0] * self.weights).sum(0)


class Head(nn.Module):
    def forward(self, brightness: Tensor, levels: Tensor) -> Tensor:
        return brightness - levels[:, None, None]


def recognises(path: Path) -> bool:
    return path.is_file() and path.read_bytes().startswith(b'{"toy":')


def load(path: Path, *, config: object, imgsz: int | None, trust: bool) -> LoadedModel:
    modules = {"toy_encoder": Encoder(json.loads(path.read_text())["toy"]), "toy_head": Head()}
    graphs = {
        role: GraphModule(
            role,
            module.eval(),
            *CONTRACT.tensors[role],
            lambda prompts, points: {"levels": prompts},
        )
        for role, module in modules.items()
    }
    return LoadedModel(ModelFacts("toy", "toy-3", SIDE, 0, config={}), graphs)


# Without torch: what compares two of them, and the class that opens one.


def find(sessions: Mapping[str, Session], image: NDArray[Any], levels: list[float]) -> Any:
    pixels = np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32)
    encoded = sessions["toy_encoder"].run({"toy_image": pixels})
    answer = sessions["toy_head"].run({**encoded, "toy_levels": np.array(levels, np.float32)})
    return answer["toy_logits"] > 0


def verify(
    reference: Mapping[str, Session],
    candidate: Mapping[str, Session],
    *,
    precision: str,
    arithmetic: str = FP32,
    tolerance: float | None = None,
    whole_image: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] | None = None,
) -> VerificationRecord:
    least, _ = gate(precision, arithmetic, tolerance)
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    a, b = (find(sessions, image, [60.0, 120.0]) for sessions in (reference, candidate))
    iou = float((a & b).sum() / (a | b).sum())
    return VerificationRecord(iou >= least, "error", mask_iou_mean=iou, tolerance=least)


class Toy:
    def __init__(self, model: str | Path) -> None:
        bundle = Bundle.open(model)
        self.sessions, _ = open_graphs(
            bundle.graphs(), own_runtime(bundle), "cpu", RuntimeOptions(threads=1), bundle.specs()
        )

    def predict(self, image: NDArray[np.uint8], levels: list[float]) -> Any:
        return find(self.sessions, image, levels)


TOY = Family(
    "toy",
    CONTRACT,
    model=f"{__name__}:Toy",
    loader=f"{__name__}:load",
    verifier=f"{__name__}:verify",
    recognises=f"{__name__}:recognises",
)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bool], None]]:
    """Installs the package with the entry point, or removes it."""

    def change(there: bool) -> None:
        points = [EntryPoint("toy", f"{__name__}:TOY", GROUP)] * there
        found = {GROUP: points}
        monkeypatch.setattr(
            samdeploy.libraries,
            "entry_points",
            lambda group: found[group] if group in found else entry_points(group=group),
        )
        families.cache_clear()

    change(True)
    yield change
    families.cache_clear()


def test_a_family_from_outside(installed: Callable[[bool], None], tmp_path: Path) -> None:
    checkpoint, folder = tmp_path / "toy.pt", tmp_path / "bundle"
    checkpoint.write_text('{"toy": [0.25, 0.5, 0.25]}')
    assert list(families()) == ["toy", "yolo", "fastsam", "sam2", "sam_hq", "sam"]
    export(checkpoint, output=folder)
    manifest = Bundle.open(folder).manifest
    assert (manifest.family, manifest.architecture) == ("toy", "toy-3")
    assert manifest.verification.passed and manifest.verification.mask_iou_mean == 1
    assert verify_bundle(folder, checkpoint).passed
    told = onnx.load(folder / "toy_head.onnx").graph.input[1]
    assert told.doc_string == CONTRACT.meanings["toy_levels"]
    assert (dynamic("toy_logits"), dynamic("toy_brightness")) == (("levels",), ())

    opener = class_of(folder)
    assert opener is Toy and class_of(checkpoint) is Toy
    image = np.full((SIDE, SIDE, 3), 100, np.uint8)
    image[2:4, 1:6] = 200
    found = opener(folder).predict(image, [50.0, 150.0, 250.0])
    assert found.sum((1, 2)).tolist() == [64, 10, 0]

    for other in (SAM, YOLO):
        with pytest.raises(InputError, match=rf"a toy-3 model and no .* with {__name__}.Toy"):
            other(folder)
    with pytest.raises(InputError, match="int8=True; it is for an image encoder"):
        export(checkpoint, output=folder, int8=True)
    with pytest.raises(InputError, match="holds its own architecture"):
        export(checkpoint, output=folder, config={"depth": 2})

    installed(False)
    with pytest.raises(BundleError, match="family 'toy', this samdeploy knows yolo, fastsam, sam"):
        class_of(folder)


def test_records_refer_to_what_is_there() -> None:
    for family in families().values():
        assert list(families())[-1] == "sam" and not families()["sam"].recognises
        for each in fields(Family):
            reference = getattr(family, each.name)
            if each.type == "Reference" and reference:
                assert callable(resolve(reference)), reference


def test_tensors_that_share_a_name_begin_alike() -> None:
    for family in families().values():
        for inputs, outputs in family.contract.tensors.values():
            for spec in (*inputs, *outputs):
                known = dynamic(spec.name)
                assert spec.shape[: len(known)] == known, spec
                assert not any(isinstance(s, str) for s in spec.shape[len(known) :][:1]), spec
