"""Files of other tools: their names, their masks, and what becomes of those that miss."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from samdeploy.bundle import Bundle
from samdeploy.exporters import layouts
from samdeploy.exporters.layouts import find_layout, layout_names
from samdeploy.exporting.lay_out import verify_layout
from samdeploy.exporting.verify import Reference
from samdeploy.families import family_named
from samdeploy.graphs import ROLES
from samdeploy.layouts import Flavour

pytestmark = pytest.mark.exporting

_EMBEDDINGS = "image_embeddings"
_PROMPTS = ["point_coords", "point_labels", "mask_input", "has_mask_input"]
_META_DECODER = (
    [_EMBEDDINGS, *_PROMPTS, "orig_im_size"],
    ["masks", "iou_predictions", "low_res_masks"],
)
_SAMEXPORTER = (
    ["image_embed", "high_res_feats_0", "high_res_feats_1", *_PROMPTS],
    ["masks", "iou_predictions"],
)
_LEVELS = [f"image_embeddings.{level}" for level in range(3)]
_BGR_OR_RGB = (["input"], ["high_res_feats_0", "high_res_feats_1", "image_embed"])

#: By layout and family: the files, and the names of their inputs and outputs in order.
NAMES: dict[tuple[str, str], dict[str, tuple[list[str], list[str]]]] = {
    ("meta", "sam"): {
        "encoder.onnx": (["x"], [_EMBEDDINGS]),
        "decoder.onnx": _META_DECODER,
    },
    ("osam", "sam"): {
        "encoder.onnx": (["x"], [_EMBEDDINGS]),
        "decoder.onnx": _META_DECODER,
    },
    ("osam", "sam2"): {
        "encoder.onnx": (["input"], [_EMBEDDINGS, "high_res_features1", "high_res_features2"]),
        "decoder.onnx": (
            [_EMBEDDINGS, "high_res_features1", "high_res_features2", *_PROMPTS, "orig_im_size"],
            ["masks", "iou_predictions", "low_res_masks"],
        ),
    },
    ("xanylabeling", "sam"): {
        "encoder.onnx": (["image"], [_EMBEDDINGS]),
        "decoder.onnx": _META_DECODER,
    },
    ("xanylabeling", "sam2"): {"encoder.onnx": _BGR_OR_RGB, "decoder.onnx": _SAMEXPORTER},
    ("anylabeling", "sam"): {
        "encoder.onnx": (["image"], [_EMBEDDINGS]),
        "decoder.onnx": _META_DECODER,
    },
    ("anylabeling", "sam2"): {"encoder.onnx": _BGR_OR_RGB, "decoder.onnx": _SAMEXPORTER},
    ("transformersjs", "sam"): {
        "onnx/vision_encoder.onnx": (
            ["pixel_values"],
            [_EMBEDDINGS, "image_positional_embeddings"],
        ),
        "onnx/prompt_encoder_mask_decoder.onnx": (
            [_EMBEDDINGS, "image_positional_embeddings", "input_points", "input_labels"],
            ["iou_scores", "pred_masks"],
        ),
    },
    ("transformersjs", "sam2"): {
        "onnx/vision_encoder.onnx": (["pixel_values"], _LEVELS),
        "onnx/prompt_encoder_mask_decoder.onnx": (
            ["input_points", "input_labels", "input_boxes", *_LEVELS],
            ["iou_scores", "pred_masks", "object_score_logits"],
        ),
    },
    ("isaac", "sam"): {
        "segment_anything/1/model.onnx": (
            ["images", *_PROMPTS, "orig_im_size"],
            ["masks", "iou_predictions", "low_res_masks"],
        ),
    },
}


@dataclasses.dataclass(frozen=True)
class Model:
    """A model of the size that a tool wants, before and after it was laid out."""

    bundle: Bundle
    reference: Reference
    flavour: Flavour
    folder: Path


MakeModel = Callable[[str, str], Model]


@pytest.fixture(scope="session")
def make_model(
    export_once: Callable[..., Path],
    sam2_checkpoint: Path,
    sam2_config: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> MakeModel:
    """A model of a family in a layout; the graphs are those of one export a size."""
    sources: Mapping[str, tuple[Any, Any]] = {
        "sam": ("sam_tiny.pt", None),
        "sam2": (sam2_checkpoint, sam2_config),
    }
    made: dict[tuple[str, str], Model] = {}

    def make(layout: str, family: str) -> Model:
        if (layout, family) not in made:
            flavour = find_layout(layout).flavours[family]
            model, config = sources[family]
            side = flavour.side or 256
            name = f"layouts_{family}_{side}"
            path = export_once(name, model, config=config, imgsz=side, verify="off")
            folder = tmp_path_factory.mktemp(f"{layout}_{family}")
            bundle = Bundle.open(path)
            flavour.write(bundle, folder)
            checkpoint = Path(layouts.__file__).parents[2] / "samdeploy/assets/sam_tiny.pt"
            reference = Reference(checkpoint if family == "sam" else model, config, side)
            made[layout, family] = Model(bundle, reference, flavour, folder)
        return made[layout, family]

    return make


def _session(path: Path) -> Any:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_every_layout_is_tested() -> None:
    listed = {(name, family) for name in layout_names() for family in find_layout(name).flavours}
    assert listed == set(NAMES)


#: At 1024 pixels, or the same graphs as another.
_LONG = {"osam", "isaac", "anylabeling"} | {("xanylabeling", "sam")}


def _pairs() -> list[Any]:
    return [
        pytest.param(*pair, marks=[pytest.mark.slow] if {pair, pair[0]} & _LONG else [])
        for pair in NAMES
    ]


@pytest.mark.parametrize(("layout", "family"), _pairs())
class TestLayout:
    def test_its_files_have_the_tools_names(
        self, layout: str, family: str, make_model: MakeModel
    ) -> None:
        folder = make_model(layout, family).folder
        found = {}
        for path in folder.rglob("*.onnx"):
            session = _session(path)
            found[path.relative_to(folder).as_posix()] = (
                [each.name for each in session.get_inputs()],
                [each.name for each in session.get_outputs()],
            )
        assert found == NAMES[layout, family]

    def test_its_masks_are_ours(self, layout: str, family: str, make_model: MakeModel) -> None:
        model = make_model(layout, family)
        rules = family_named(family, layout)
        assert rules.preprocess is not None
        record = verify_layout(
            model.reference.sessions(rules.contract, ROLES),
            model.flavour.adapter(model.folder),
            rules.preprocess,
            precision="fp32",
            tolerance=None,
            mode="error",
        )
        assert record.passed
        assert record.mask_iou_mean > 0.999
        assert record.mask_iou_min > 0.98
