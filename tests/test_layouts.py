"""Files of other tools: their names, their masks, and what becomes of those that miss."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import yaml

from samdeploy.bundle import Bundle
from samdeploy.cli.app import main
from samdeploy.errors import ExportError, InputError, VerificationError
from samdeploy.exporters import layouts
from samdeploy.exporters.layouts import find_layout, layout_names, meta, pieces
from samdeploy.exporters.layouts.writing import save
from samdeploy.exporting.lay_out import verify_layout
from samdeploy.exporting.pipeline import export
from samdeploy.exporting.verify import Reference
from samdeploy.families import family_named
from samdeploy.geometry import Transform, resize_logits
from samdeploy.graphs import ENCODER, ROLES
from samdeploy.layouts import Flavour, Layout, read_record
from samdeploy.prompts import Prompt
from samdeploy.scenes import generate_scene

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
    tiny_bundle: Path,
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
            if (family, side) == ("sam", 256):
                path = tiny_bundle
            elif (family, side) == ("sam2", 256):
                path = export_once("sam2_onnx", model, "onnx", config=config)
            else:
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
_LONG = {"osam", "xanylabeling"}
_LONGEST = {"isaac", "anylabeling"}


def _pairs() -> list[Any]:
    marks = {
        **dict.fromkeys(_LONG, (pytest.mark.slow,)),
        **dict.fromkeys(_LONGEST, (pytest.mark.slow, pytest.mark.overnight)),
    }
    return [pytest.param(*pair, marks=marks.get(pair[0], ())) for pair in NAMES]


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


@pytest.fixture(scope="module")
def decoder(make_model: MakeModel) -> Any:
    return _session(make_model("meta", "sam").folder / "decoder.onnx")


@pytest.fixture(scope="module")
def feeds() -> dict[str, Any]:
    """Two prompts of three tokens for the decoder of ``meta``, on features that mean nothing."""
    random = np.random.default_rng(5)
    return {
        "image_embeddings": random.standard_normal((1, 128, 16, 16)).astype(np.float32),
        "point_coords": random.uniform(0, 256, (2, 3, 2)).astype(np.float32),
        "point_labels": np.array([[1, 0, -1], [2, 3, -1]], np.float32),
        "mask_input": random.standard_normal((1, 1, 64, 64)).astype(np.float32),
        "has_mask_input": np.zeros(1, np.float32),
        "orig_im_size": np.array([217, 301], np.float32),
    }


class TestTheDecoderOfManyTools:
    def test_full_size_masks_are_those_of_our_geometry(
        self, decoder: Any, feeds: dict[str, Any]
    ) -> None:
        masks, _, low = decoder.run(None, feeds)
        assert masks.shape == (2, 4, 217, 301)
        wanted = resize_logits(low[0], Transform.fit((217, 301), 256))
        np.testing.assert_allclose(masks[0], wanted, atol=1e-3)

    def test_many_prompts_are_one_after_the_other(
        self, decoder: Any, feeds: dict[str, Any]
    ) -> None:
        both = decoder.run(["low_res_masks"], feeds)[0]
        for index in range(2):
            own = {
                name: feeds[name][index : index + 1] for name in ("point_coords", "point_labels")
            }
            alone = decoder.run(["low_res_masks"], {**feeds, **own})[0]
            np.testing.assert_allclose(both[index : index + 1], alone, atol=1e-4)

    def test_a_mask_counts_only_where_it_is_said_to(
        self, decoder: Any, feeds: dict[str, Any]
    ) -> None:
        low = {
            given: decoder.run(
                ["low_res_masks"], {**feeds, "has_mask_input": np.array([given], np.float32)}
            )[0]
            for given in (0, 1, -1)
        }
        assert np.array_equal(low[0], low[-1])  # osam says -1
        assert np.abs(low[0] - low[1]).max() > 0.1

    def test_an_absent_token_changes_nothing(self, decoder: Any, feeds: dict[str, Any]) -> None:
        more = {
            "point_coords": np.pad(feeds["point_coords"], ((0, 0), (0, 2), (0, 0))),
            "point_labels": np.pad(feeds["point_labels"], ((0, 0), (0, 2)), constant_values=-2),
        }
        found = decoder.run(["low_res_masks"], {**feeds, **more})[0]
        np.testing.assert_allclose(
            found, decoder.run(["low_res_masks"], feeds)[0], atol=1e-4, rtol=1e-4
        )


def test_a_grid_of_points_is_one_call_in_x_anylabeling(make_model: MakeModel) -> None:
    """It gives a mask to every prompt, and says once for all that there is none."""
    decoder = _session(make_model("xanylabeling", "sam2").folder / "decoder.onnx")
    random = np.random.default_rng(7)
    first, second, third, coords, labels, mask, flag = decoder.get_inputs()
    features = {
        each.name: random.standard_normal(each.shape).astype(np.float32)
        for each in (first, second, third)
    }
    points = random.uniform(0, 256, (5, 1, 2)).astype(np.float32)

    def ask(some: Any) -> Any:
        prompts = {
            coords.name: some,
            labels.name: np.ones((len(some), 1), np.float32),
            mask.name: np.zeros((len(some), 1, 64, 64), np.float32),
            flag.name: np.zeros(1, np.float32),
        }
        return decoder.run(None, {**features, **prompts})

    masks, scores = ask(points)
    assert masks.shape == (5, 3, 64, 64)
    assert scores.shape == (5, 3)
    np.testing.assert_allclose(masks[3:4], ask(points[3:4])[0], atol=1e-3)


@pytest.mark.parametrize("single", [False, True])
def test_the_decoder_is_that_of_the_official_export(
    single: bool, golden: Path, small_bundle: Path, tmp_path: Path
) -> None:
    """Numbers of Segment Anything's own ``SamOnnxModel``; see golden/README.md."""
    bundle, path = Bundle.open(small_bundle), tmp_path / "decoder.onnx"
    save(bundle, meta.decoder_text(bundle, single=single), path)
    decoder = _session(path)
    embeddings = np.load(golden / "sam_vit_small" / "outputs.npz")["image_embedding"]
    with np.load(golden / "onnx_decoder_outputs.npz") as file:
        numbers = {tuple(key.split("/", 1)): file[key] for key in file}
    names = {name for name, _ in numbers}
    assert len(names) > 10
    for name in names:
        given = {key[3:]: numbers[each, key] for each, key in numbers
                 if each == name and key.startswith("in/")}  # fmt: skip
        feeds = {
            "mask_input": np.zeros((1, 1, 64, 64), np.float32),
            **given,
            "image_embeddings": embeddings.reshape(1, 64, 16, 16),
            "orig_im_size": np.array([180, 240], np.float32),
        }
        masks, ious, _ = decoder.run(None, feeds)
        wanted, scores = numbers[name, "all/masks_stride12"], numbers[name, "all/scores"]
        if single:
            token = numbers[name, "single/selected_token"]
            wanted, scores = (
                each[np.arange(len(token)), token][:, None] for each in (wanted, scores)
            )
        assert masks.shape == (len(scores), 1 if single else 4, 180, 240)
        np.testing.assert_allclose(ious, scores, atol=1e-4)
        np.testing.assert_allclose(masks[..., ::12, ::12], wanted, atol=2e-3)


class TestTransformersJs:
    """What its processor may give beside a click."""

    @pytest.fixture
    def answer(self, make_model: MakeModel) -> Callable[..., Any]:
        random = np.random.default_rng(6)

        def run(family: str, **prompts: Any) -> Any:
            folder = make_model("transformersjs", family).folder
            session = _session(folder / "onnx/prompt_encoder_mask_decoder.onnx")
            features = {
                each.name: random.standard_normal(each.shape).astype(np.float32)
                for each in _session(folder / "onnx/vision_encoder.onnx").get_outputs()
            }
            return [session.run(["pred_masks"], {**features, **each})[0] for each in prompts["of"]]

        return run

    def test_ignored_points_count_as_none(self, answer: Callable[..., Any]) -> None:
        point = {
            "input_points": np.full((1, 1, 1, 2), 90, np.float32),
            "input_labels": np.ones((1, 1, 1), np.int64),
        }
        more = {
            "input_points": np.full((1, 1, 2, 2), 90, np.float32),
            "input_labels": np.array([[[1, -10]]]),
        }
        one, two = answer("sam", of=[point, more])
        assert one.shape == (1, 1, 3, 64, 64)
        np.testing.assert_allclose(one, two, atol=1e-4)

    def test_boxes_alone_are_a_prompt_each(self, answer: Callable[..., Any]) -> None:
        boxes = np.array([[[20, 30, 120, 140], [60, 50, 200, 220]]], np.float32)
        many = {
            "input_points": np.zeros((1, 1, 0, 2), np.float32),
            "input_labels": np.zeros((1, 2, 0), np.int64),
            "input_boxes": boxes,
        }
        one = {**many, "input_labels": np.zeros((1, 1, 0), np.int64), "input_boxes": boxes[:, 1:]}
        corners = {  # the same box as points with labels of their own
            "input_points": boxes[:, 1:].reshape(1, 1, 2, 2),
            "input_labels": np.array([[[2, 3]]]),
            "input_boxes": np.zeros((1, 0, 4), np.float32),
        }
        both, alone, points = answer("sam2", of=[many, one, corners])
        assert both.shape == (1, 2, 3, 64, 64)
        np.testing.assert_allclose(both[:, 1:], alone, atol=1e-3)
        np.testing.assert_allclose(alone, points, atol=1e-3)

    def test_its_json_files(self, make_model: MakeModel) -> None:
        folder = make_model("transformersjs", "sam").folder
        assert json.loads((folder / "config.json").read_text())["model_type"] == "sam"
        images = json.loads((folder / "preprocessor_config.json").read_text())
        assert images["size"] == {"longest_edge": 256}
        assert images["pad_size"] == {"height": 256, "width": 256}
        np.testing.assert_allclose(images["image_mean"], [0.485, 0.456, 0.406])


def test_the_yaml_file_names_what_is_there(make_model: MakeModel) -> None:
    folder = make_model("xanylabeling", "sam2").folder
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["type"] == "segment_anything_2"
    assert {"name", "display_name", "provider"} <= config.keys()
    for part in ("encoder", "decoder"):
        assert (folder / config[f"{part}_model_path"]).is_file()


@pytest.fixture
def bad(
    small_checkpoint: Path, small_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """Exports a layout whose encoder is for BGR, while its tool shows RGB."""

    def swapped(bundle: Bundle, folder: Path) -> None:
        turned = pieces.reversed_channels("image", "bgr") + "\n    image_embeddings"
        text = meta.encoder_text(bundle).replace("encoder (image)", "encoder (bgr)")
        text = text.replace("\n    image_embeddings", turned)
        save(bundle, text, folder / "encoder.onnx")
        save(bundle, meta.decoder_text(bundle, single=False), folder / "decoder.onnx")

    flavour = Flavour(swapped, meta.MetaAdapter)
    monkeypatch.setitem(layouts.BUILT_IN, "bad", Layout("bad", "a tool", {"sam": flavour}))

    def make(**options: Any) -> Path:
        output = tmp_path / "bad"
        return export(small_checkpoint, config=small_config, layout="bad", output=output, **options)

    return make


class TestExport:
    @pytest.mark.slow
    def test_info_says_what_was_written(
        self, export_once: Callable[..., Path], capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = export_once("layout_meta", "sam_tiny.pt", layout="meta")
        record = read_record(folder)
        assert {each.path for each in record.files} == {"encoder.onnx", "decoder.onnx"}
        assert {path.name for path in folder.iterdir()} == {
            "encoder.onnx",
            "decoder.onnx",
            "samdeploy.json",
        }
        assert record.verification.passed
        assert record.verification.mask_iou_mean > 0.999
        assert record.graphs.passed
        with pytest.raises(SystemExit) as left:
            main(["info", f"model={folder}", "json=True"])
        assert left.value.code == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts["layout"] == "meta"
        assert facts["verified"] is True

    @pytest.mark.slow
    def test_half(self, tmp_path: Path) -> None:
        folder = export("sam_tiny.pt", layout="meta", half=True, output=tmp_path / "half")
        record = read_record(folder)
        assert record.precision == "fp16"
        assert record.verification.passed
        assert record.verification.tolerance == 0.995

    def test_files_that_miss_are_not_written(
        self, bad: Callable[..., Path], tmp_path: Path
    ) -> None:
        with pytest.raises(VerificationError, match="layout=bad do not give the masks"):
            bad()
        assert not [*tmp_path.iterdir()]

    @pytest.mark.slow
    def test_files_that_miss_are_kept_when_asked(self, bad: Callable[..., Path]) -> None:
        record = read_record(bad(verify="warn"))
        assert not record.verification.passed
        assert record.verification.mode == "warn"
        assert record.graphs.passed

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"layout": "osam"}, "takes models of 1024 pixels"),
            ({"layout": "labelme"}, "layout=labelme is not one of ours; expected one of"),
            ({"layout": "osma"}, "did you mean 'osam'"),
            ({"layout": "meta", "preprocess": "medsam"}, "has steps of its own"),
            ({"layout": "meta", "format": "openvino"}, "has no use for it"),
        ],
    )
    def test_what_a_tool_does_not_take_is_a_sentence(
        self, options: dict[str, Any], sentence: str, tmp_path: Path
    ) -> None:
        with pytest.raises(InputError, match=sentence):
            export("sam_tiny.pt", output=tmp_path / "out", **options)
        assert not [*tmp_path.iterdir()]

    def test_another_family_is_a_sentence(
        self, sam2_checkpoint: Path, sam2_config: dict[str, Any], tmp_path: Path
    ) -> None:
        with pytest.raises(InputError, match=r"takes models of family sam, and .* is a sam2 model"):
            export(sam2_checkpoint, config=sam2_config, layout="meta", output=tmp_path / "out")

    def test_only_a_layout_of_ours_is_replaced(
        self, small_bundle: Path, small_checkpoint: Path, small_config: Path, tmp_path: Path
    ) -> None:
        target = tmp_path / "out"

        def lay_out(layout: str, output: Path = target) -> None:
            export(
                small_checkpoint, config=small_config, layout=layout, output=output, verify="off"
            )

        with pytest.raises(InputError, match="is no layout of ours"):
            lay_out("meta", small_bundle)
        lay_out("meta")
        lay_out("transformersjs")
        assert read_record(target).layout == "transformersjs"
        (target / "notes.txt").write_text("mine")
        with pytest.raises(InputError, match=r"holds 'notes\.txt', which its samdeploy\.json"):
            lay_out("meta")
        assert (target / "notes.txt").is_file()


def test_a_package_adds_a_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("mine", f"{__name__}:LAYOUT", layouts.GROUP)
    monkeypatch.setattr(layouts, "_added", lambda: {"mine": point})
    monkeypatch.setattr(EntryPoint, "load", lambda self: meta.LAYOUT)
    assert "mine" in layout_names()
    assert find_layout("mine") is meta.LAYOUT


def test_a_layout_may_use_any_name(
    small_checkpoint: Path, small_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(bundle: Bundle, folder: Path) -> None:
        assert not [*folder.glob("[!.]*")]
        (folder / "graphs").mkdir()
        shutil.copy(bundle.graphs()[ENCODER], folder / "graphs" / "encoder.onnx")

    flavour = Flavour(write, meta.LAYOUT.flavours["sam"].adapter)
    monkeypatch.setitem(layouts.BUILT_IN, "mine", Layout("mine", "a tool", {"sam": flavour}))
    folder = export(
        small_checkpoint, config=small_config, layout="mine", output=tmp_path / "b", verify="off"
    )
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    assert sorted(names) == ["graphs/encoder.onnx", "samdeploy.json"]
    assert [file.path for file in read_record(folder).files] == ["graphs/encoder.onnx"]


def test_text_that_is_no_onnx(make_model: MakeModel, tmp_path: Path) -> None:
    bundle = make_model("meta", "sam").bundle
    with pytest.raises(ExportError, match="no ONNX text"):
        save(bundle, "encoder (float[1] a => b {", tmp_path / "encoder.onnx")


def test_an_adapter_shows_what_the_encoder_gets(make_model: MakeModel) -> None:
    """Pixels of the comparison are those that the tool shows, not those of another image."""
    model = make_model("meta", "sam")
    adapter = model.flavour.adapter(model.folder)
    scene = generate_scene(1, (300, 220))
    pixels = adapter.pixels(scene.image)
    assert pixels.shape == (1, 3, 256, 256)
    np.testing.assert_allclose(pixels[0, :, -1, -1], [123.675, 116.28, 103.53])
    adapter.encode(scene.image)
    assert adapter.masks(Prompt(points=[110, 150])).shape == (4, 300, 220)
