"""Artifacts in less than float32: what is quantised, and what happens when the gate is missed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from PIL import Image

from samdeploy import schemes
from samdeploy.bundle import Bundle, SourceRecord, VerificationRecord
from samdeploy.errors import InputError, RuntimeUnavailableError, VerificationError
from samdeploy.exporters.onnx import OnnxExporter
from samdeploy.exporters.passes.onnx_int8 import quantizable, to_int8
from samdeploy.exporters.passes.onnx_int8_weights import to_int8_weights
from samdeploy.exporting.calibration import COUNT, calibration_inputs, check_data
from samdeploy.exporting.int8_repair import Attempt, nearest, repair
from samdeploy.exporting.layer_names import belongs_to
from samdeploy.exporting.options import (
    CalibratedOptions,
    FloatOptions,
    HalfOption,
    Int8Options,
    WeightsOnlyOptions,
)
from samdeploy.exporting.pipeline import export
from samdeploy.exporting.verify import check
from samdeploy.graphs import ENCODER
from samdeploy.models import GraphModule, ModelFacts, graph_modules
from samdeploy.models.load import load_sam
from samdeploy.models.sensitivity import sensitivity
from samdeploy.registry import load_exporter, load_runtime
from samdeploy.scenes import generate_scene
from samdeploy.schemes import Scheme
from samdeploy.session import RuntimeOptions, Session

pytestmark = pytest.mark.exporting

#: The layer that the outliers go through.
POISONED = "image_encoder.blocks.2.mlp.lin1"


@pytest.mark.parametrize(
    ("name", "layer", "belongs"),
    [
        ("/image_encoder/blocks.1/attn/qkv/MatMul", "image_encoder.blocks.1.attn.qkv", True),
        ("sam.image_encoder.blocks.1.attn.qkv.bias", "image_encoder.blocks.1.attn.qkv", True),
        ("p_sam_image_encoder_blocks_1_attn_qkv_weight", "image_encoder.blocks.1", True),
        ("__module.sam.image_encoder.neck.0/aten::conv", "image_encoder.neck.0", True),
        ("/image_encoder/neck/neck.0/Conv", "image_encoder.neck.0", True),
        ("/image_encoder/neck/neck.2/Conv", "image_encoder.neck.0", False),
        ("/image_encoder/blocks.11/attn/qkv/MatMul", "image_encoder.blocks.1", False),
        ("/image_encoder/layers.1/blocks.1/mlp/MatMul", "image_encoder.blocks.1", False),
    ],
)
def test_layers_are_recognised_in_the_names_of_converters(
    name: str, layer: str, belongs: bool
) -> None:
    assert belongs_to(name, [layer]) == belongs


class TestCalibration:
    def test_generated(self) -> None:
        images = list(calibration_inputs("", 64))
        assert len(images) == COUNT
        assert all(i.shape == (1, 3, 64, 64) and i.dtype == np.float32 for i in images)
        assert len({image.tobytes() for image in images}) == COUNT

    def test_a_folder(self, tmp_path: Path) -> None:
        for seed in range(COUNT + 3):
            Image.fromarray(generate_scene(seed, 32).image).save(tmp_path / f"{seed:02}.png")
        assert len(list(calibration_inputs(str(tmp_path), 64))) == COUNT

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"data": "x"}, "data= is for int8=True"),
            ({"float_layers": ("a",)}, "float_layers= is for int8=True"),
            ({"weights_only": True}, "weights_only= is for int8=True"),
            (
                {"int8": True, "weights_only": True, "data": "x"},
                "data=x; weights_only=True calibrates nothing",
            ),
            ({"half": True, "bf16": True}, "half=True bf16=True; expected one of them"),
            ({"bf16": True, "format": "coreml"}, "bf16=True; format=coreml has no use for it"),
            (
                {"int8": True, "weights_only": True, "format": "coreml"},
                "weights_only=True; format=coreml has no use for it",
            ),
            ({"int8": True, "data": "no_such_folder"}, "'no_such_folder' does not exist"),
            (
                {"int8": True, "float_layers": ("image_encoder.layer.1.blocks.0",)},
                r"float_layers='image_encoder\.layer\.1\.blocks\.0'; .* such as "
                r"image_encoder\.layers\.1\.blocks\.0",
            ),
            (
                {"int8": True, "weights_only": True, "float_layers": ("nope",)},
                "float_layers='nope'; the encoder has no such layer .* such as image_encoder",
            ),
            (
                {"int8": True, "float_layers": ("mask_decoder.iou_prediction_head",)},
                "float_layers='mask_decoder.iou_prediction_head'; the encoder has no such layer",
            ),
            ({"max_prompts": 10**9}, "max_prompts=1000000000; "),
            ({"max_prompts": 64, "format": "openvino"}, "max_prompts=64; format=openvino has no u"),
            ({"max_points": 4, "format": "coreml"}, "max_points=4; the verification asks .* 5 or"),
            ({"palette_bits": 6}, "palette_bits=6; format=onnx has no use for it"),
            ({"palette_bits": 5, "format": "coreml"}, "palette_bits=5; expected 4, 6 or 8"),
            (
                {"palette_bits": 6, "int8": True, "format": "coreml"},
                "int8=True palette_bits=6; expected one of them",
            ),
        ],
    )
    def test_refusals(self, options: dict[str, Any], says: str, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=says):
            export("sam_tiny.pt", output=tmp_path / "b", **options)
        assert list(tmp_path.iterdir()) == []

    def test_videos_alone_are_no_images(self, tmp_path: Path) -> None:
        (tmp_path / "clip.mp4").touch()
        with pytest.raises(InputError, match=r"clip\.mp4; expected images, there are videos alone"):
            check_data(str(tmp_path / "clip.mp4"))


def test_a_scheme_without_options_is_asked_for_by_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of another package, whose exporter names it by itself, as that of QNN does."""
    added = {"my8": Scheme("my8"), **schemes.schemes()}
    monkeypatch.setattr(schemes, "schemes", lambda: added)
    assert schemes.scheme_of(HalfOption()).name == "fp32"
    assert schemes.scheme_of(HalfOption(half=True)).name == "fp16"


@pytest.fixture(scope="module")
def encoder(small_bundle: Path) -> onnx.ModelProto:
    return onnx.load(small_bundle / "encoder.onnx")


@pytest.fixture(scope="module")
def quantized(encoder: onnx.ModelProto) -> onnx.ModelProto:
    return to_int8(encoder, islice(calibration_inputs("", 256), 2), ["image_encoder.blocks.3"])


class TestOnnxInt8:
    def test_linear_layers_are_8_bit(
        self, encoder: onnx.ModelProto, quantized: onnx.ModelProto
    ) -> None:
        # Four blocks of four; the last block was left out.
        assert len(quantizable(encoder.graph, ())) == 16
        assert len(quantizable(encoder.graph, ["image_encoder.blocks.3"])) == 12
        eight = [t for t in quantized.graph.initializer if t.data_type == onnx.TensorProto.INT8]
        assert sum(len(tensor.dims) >= 2 for tensor in eight) == 12

    def test_scales_are_per_output_channel(self, quantized: onnx.ModelProto) -> None:
        weights = {tensor.name: tensor for tensor in quantized.graph.initializer}
        scales = [
            weights[node.input[1]].dims
            for node in quantized.graph.node
            if node.op_type == "DequantizeLinear"
            and node.input[0] in weights
            and len(weights[node.input[0]].dims) > 1
        ]
        assert len(scales) == 12
        assert all(len(dims) == 1 and dims[0] >= 48 for dims in scales)

    def test_it_says_the_same_of_itself(
        self, encoder: onnx.ModelProto, quantized: onnx.ModelProto
    ) -> None:
        onnx.checker.check_model(quantized, full_check=True)
        assert list(quantized.metadata_props) == list(encoder.metadata_props)
        assert quantized.producer_name == "samdeploy"
        assert list(quantized.graph.input) == list(encoder.graph.input)


class TestOnnxInt8Weights:
    @pytest.fixture(scope="class")
    @classmethod
    def weights(cls, encoder: onnx.ModelProto) -> onnx.ModelProto:
        pytest.importorskip("nncf")
        return to_int8_weights(encoder, ["image_encoder.neck"])

    def test_layers_read_8_bit_weights_and_nothing_is_quantised(
        self, encoder: onnx.ModelProto, weights: onnx.ModelProto
    ) -> None:
        onnx.checker.check_model(weights, full_check=True)
        assert [(opset.domain, opset.version) for opset in weights.opset_import] == [("", 17)]
        assert not any(node.op_type == "QuantizeLinear" for node in weights.graph.node)
        stored = {tensor.name: tensor for tensor in weights.graph.initializer}
        eight = {name for name, t in stored.items() if t.data_type == onnx.TensorProto.INT8}
        assert len(eight) == 17  # four blocks of four layers, and the patch embedding
        # ONNX Runtime would not compute it when it loads the graph.
        assert not any(node.op_type == "DequantizeLinear" for node in weights.graph.node)
        casts = {n.output[0]: n for n in weights.graph.node if n.op_type == "Cast"}
        products = [n for n in weights.graph.node if n.op_type == "Mul" and n.input[0] in casts]
        assert {casts[node.input[0]].input[0] for node in products} == eight
        for node in products:
            values = numpy_helper.to_array(stored[casts[node.input[0]].input[0]])
            assert np.abs(values.astype(int)).max() > 126  # eight bits, not seven
            # One scale an output channel, which is first in convolutions and last in products.
            scales = stored[node.input[1]].dims
            assert list(scales) in ([len(values), 1, 1, 1], [1, values.shape[-1]])

    def test_it_says_the_same_of_itself(
        self, encoder: onnx.ModelProto, weights: onnx.ModelProto
    ) -> None:
        assert list(weights.metadata_props) == list(encoder.metadata_props)
        assert weights.producer_name == "samdeploy"
        assert list(weights.graph.input) == list(encoder.graph.input)
        assert weights.ByteSize() < 0.6 * encoder.ByteSize()

    def test_all_layers_may_stay_float(self, encoder: onnx.ModelProto) -> None:
        assert to_int8_weights(encoder, ["image_encoder"]) == encoder

    def test_nncf_is_missing(
        self, encoder: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "nncf", None)
        with pytest.raises(RuntimeUnavailableError, match=r"format=onnx needs NNCF.*pip install"):
            to_int8_weights(encoder)


def test_convolutions_of_an_int8_encoder_are_stored_in_bytes(
    encoder_module: GraphModule, image: NDArray[np.float32], tmp_path: Path
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    Image.fromarray(generate_scene(1).image).save(images / "1.png")
    found = {}
    for kept in ((), ("image_encoder.patch_embed", "image_encoder.neck")):
        folder = tmp_path / f"{len(kept)}"
        folder.mkdir()
        options = OnnxExporter.Options(int8=True, data=str(images), float_layers=kept)
        path = folder / OnnxExporter().export(encoder_module, folder, options).files[0]
        graph = onnx.load(path).graph
        convolutions = {n.input[1] for n in graph.node if n.op_type == "Conv"}
        found[kept] = [
            tuple(tensor.dims)
            for tensor in graph.initializer
            if tensor.data_type == onnx.TensorProto.INT8
            and tensor.name.removesuffix("_stored") in convolutions
        ]
        session = load_runtime("onnxruntime")().open(
            path, ENCODER, device="cpu", options=RuntimeOptions(threads=1)
        )
        assert 0.98 < likeness(session, encoder_module, image) < 0.99999
    everything, nothing = found.values()
    assert len(everything) == 3  # the patch embedding and two of the neck
    assert nothing == []


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", pytest.param("openvino", marks=pytest.mark.overnight)])
@pytest.mark.parametrize("weights_only", [False, True])
def test_int8_of_the_shipped_model_passes_its_gate(
    format: str, weights_only: bool, tmp_path: Path
) -> None:
    pytest.importorskip("nncf")
    lines: list[str] = []
    folder = export(
        "sam_tiny.pt", format, output=tmp_path / "b", int8=True, weights_only=weights_only,
        progress=lines.append,
    )  # fmt: skip
    manifest = Bundle.open(folder).manifest
    assert manifest.precision == ("int8_weights" if weights_only else "int8")
    assert manifest.options["float_layers"] == []  # at the first attempt
    assert (manifest.verification.passed, manifest.verification.tolerance) == (True, 0.97)
    assert manifest.verification.mask_iou_mean > 0.98  # well above the gate
    assert any("calibrating" in line for line in lines) == (not weights_only)


#: One layer, a block and a part that stay float.
KEPT = ("image_encoder.blocks.0.attn.qkv", "image_encoder.blocks.3", "image_encoder.neck")


@pytest.fixture(scope="module")
def encoder_module(small_checkpoint: Path, small_config: Path) -> GraphModule:
    return graph_modules(load_sam(small_checkpoint, config=small_config))[ENCODER]


@pytest.fixture(scope="module")
def image() -> NDArray[np.float32]:
    return next(calibration_inputs("", 256))


def likeness(session: Session, module: GraphModule, image: NDArray[np.float32]) -> float:
    """Cosine between the embedding of an artifact and that of torch."""
    found = session.run({"image": image})["image_embeddings"]
    with torch.inference_mode():
        expected = module.module(torch.from_numpy(image)).numpy()
    return float((found * expected).sum() / np.linalg.norm(found) / np.linalg.norm(expected))


@pytest.mark.slow
def test_openvino_int8(
    encoder_module: GraphModule, image: NDArray[np.float32], tmp_path: Path
) -> None:
    pytest.importorskip("nncf")
    pytest.importorskip("samdeploy.exporters.openvino")
    ov = pytest.importorskip("openvino")
    images = tmp_path / "images"
    images.mkdir()
    for seed in (1, 2):
        Image.fromarray(generate_scene(seed).image).save(images / f"{seed}.png")
    exporter = load_exporter("openvino")
    options: Any = exporter.Options(int8=True, data=str(images), float_layers=KEPT)  # type: ignore[call-arg]
    path = tmp_path / exporter().export(encoder_module, tmp_path, options).files[0]
    eight = [
        op.shape
        for op in ov.Core().read_model(path).get_ops()
        if op.get_type_name() == "Constant" and op.get_element_type() == ov.Type.i8
    ]
    # Three blocks of four linear layers, without one layer, and the patch embedding; what has three
    # dimensions are tables of relative positions, by which NNCF multiplies in int8 as well.
    assert sum(len(shape) != 3 for shape in eight) == 12
    session = load_runtime("openvino")().open(
        path, ENCODER, device="cpu", options=RuntimeOptions(threads=1, precision="fp32")
    )
    assert 0.98 < likeness(session, encoder_module, image) < 0.99999


def test_openvino_int8_weights(
    encoder_module: GraphModule, image: NDArray[np.float32], tmp_path: Path
) -> None:
    pytest.importorskip("nncf")
    pytest.importorskip("samdeploy.exporters.openvino")
    ov = pytest.importorskip("openvino")
    exporter = load_exporter("openvino")
    options: Any = exporter.Options(int8=True, weights_only=True, float_layers=KEPT)  # type: ignore[call-arg]
    path = tmp_path / exporter().export(encoder_module, tmp_path, options).files[0]
    model = ov.Core().read_model(path)
    constants = [op for op in model.get_ops() if op.get_type_name() == "Constant"]
    eight = [op.shape for op in constants if op.get_element_type() == ov.Type.i8]
    assert sum(len(shape) != 3 for shape in eight) == 12  # as above
    assert not any(op.get_type_name() == "FakeQuantize" for op in model.get_ops())
    # Some processors would round activations for them, unless the model forbids it.
    compiled = ov.Core().compile_model(model, "CPU")
    assert compiled.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE") == 0
    session = load_runtime("openvino")().open(
        path, ENCODER, device="cpu", options=RuntimeOptions(threads=1, precision="fp32")
    )
    assert 0.999 < likeness(session, encoder_module, image) < 0.999999


@pytest.mark.slow
@pytest.mark.overnight
def test_coreml_int8(
    encoder_module: GraphModule, image: NDArray[np.float32], tmp_path: Path
) -> None:
    pytest.importorskip("samdeploy.exporters.coreml")
    mil = pytest.importorskip("samdeploy.runtimes.mil")
    exporter = load_exporter("coreml")
    options: Any = exporter.Options(int8=True, float_layers=KEPT)  # type: ignore[call-arg]
    graph = exporter().export(encoder_module, tmp_path, options)
    session = mil.MilSession(tmp_path / graph.files[0], ENCODER)
    eight = [op for op in session._operations if op.op_type == "constexpr_affine_dequantize"]
    # As for OpenVINO, without the patch embedding.
    assert len(eight) == 11
    assert 0.999 < likeness(session, encoder_module, image) < 0.999999


@pytest.mark.slow
def test_coreml_palette(
    encoder_module: GraphModule, image: NDArray[np.float32], tmp_path: Path
) -> None:
    pytest.importorskip("samdeploy.exporters.coreml")
    mil = pytest.importorskip("samdeploy.runtimes.mil")
    exporter = load_exporter("coreml")
    options: Any = exporter.Options(palette_bits=6, float_layers=KEPT)  # type: ignore[call-arg]
    graph = exporter().export(encoder_module, tmp_path, options)
    session = mil.MilSession(tmp_path / graph.files[0], ENCODER)
    six = [op for op in session._operations if op.op_type == "constexpr_lut_to_dense"]
    assert len(six) == 11
    assert 0.99 < likeness(session, encoder_module, image) < 0.99999


def test_operators_of_8_bit_weights_in_core_ml() -> None:
    mil = pytest.importorskip("samdeploy.runtimes.mil")
    palette = mil._OPERATORS["constexpr_lut_to_dense"](
        {
            "lut": torch.tensor([10.0, 20.0, 30.0, 40.0]),
            "indices": np.array([0b01_10_11_00, 0b11], np.uint8),  # the first number is the last
            "shape": np.array([5], np.uint32),
        }
    )
    assert palette.tolist() == [10, 40, 30, 20, 40]
    data = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]], dtype=torch.int8)
    rows = mil._OPERATORS["constexpr_affine_dequantize"](
        {"quantized_data": data, "zero_point": 1, "scale": torch.tensor([1.0, 10.0]), "axis": 0}
    )
    assert rows.tolist() == [[0, 1, 2, 3], [40, 50, 60, 70]]
    blocks = mil._OPERATORS["constexpr_blockwise_shift_scale"](
        {
            "data": data,
            "scale": torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
            "offset": torch.tensor([[0], [5]], dtype=torch.int8),
        }
    )
    assert blocks.tolist() == [[1, 2, 6, 8], [0, 3, 8, 12]]


def test_half_passes_its_gate_on_onnx(
    small_checkpoint: Path, small_config: Path, tmp_path: Path
) -> None:
    folder = export(small_checkpoint, config=small_config, output=tmp_path / "half", half=True)
    manifest = Bundle.open(folder).manifest
    assert (manifest.precision, manifest.verification.passed) == ("fp16", True)
    assert manifest.verification.tolerance == 0.995
    types = {t.data_type for t in onnx.load(folder / "encoder.onnx").graph.initializer}
    assert onnx.TensorProto.FLOAT16 in types


@pytest.fixture(scope="module")
def poisoned(
    small_checkpoint: Path, small_config: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    state = load_sam(small_checkpoint, config=small_config).state_dict()
    for name in ("image_encoder.blocks.2.norm2.weight", "image_encoder.blocks.2.norm2.bias"):
        state[name][:2] *= 300
    state[f"{POISONED}.weight"][:, :2] /= 300
    path = tmp_path_factory.mktemp("poisoned") / "poisoned.pt"
    torch.save(state, path)
    return path


class TestPoisoned:
    """Outliers in two channels of one layer's input; the float model computes what it did."""

    def test_the_float_model_is_the_same(
        self, poisoned: Path, small_checkpoint: Path, small_config: Path
    ) -> None:
        image = torch.from_numpy(next(calibration_inputs("", 256)))
        with torch.inference_mode():
            expected, found = (
                load_sam(path, config=small_config).encode(image)
                for path in (small_checkpoint, poisoned)
            )
        assert float((found - expected).abs().max() / expected.abs().max()) < 1e-5

    def test_the_analysis_names_the_layer(
        self, poisoned: Path, small_checkpoint: Path, small_config: Path
    ) -> None:
        images = list(islice(calibration_inputs("", 256), 1))
        sam = load_sam(poisoned, config=small_config)
        before = {name: value.clone() for name, value in sam.state_dict().items()}
        errors = list(sensitivity(sam, images).items())
        assert errors[0][0] == POISONED
        assert errors[0][1] > 10 * errors[1][1]
        assert all(torch.equal(value, before[name]) for name, value in sam.state_dict().items())
        healthy = sensitivity(load_sam(small_checkpoint, config=small_config), images)
        assert max(healthy.values()) < 0.05

    @pytest.mark.slow
    def test_the_fallback_repairs_it(
        self, poisoned: Path, small_config: Path, tmp_path: Path
    ) -> None:
        # The weights are random, and for masks of noise int8 keeps no 0.97 of them.
        lines: list[str] = []
        folder = export(
            poisoned, config=small_config, output=tmp_path / "b", int8=True, tolerance=0.85,
            progress=lines.append,
        )  # fmt: skip
        manifest = Bundle.open(folder).manifest
        assert manifest.verification.passed
        assert manifest.options["float_layers"] == [POISONED]
        text = "\n".join(lines)
        assert "warning: calibrating int8 with generated scenes" in text
        assert "int8 misses its gate (mask IoU mean 0." in text
        assert f"float again: {POISONED}; passes (mask IoU mean 0." in text
        stored = onnx.load(folder / "encoder.onnx").graph.initializer
        linear = [tensor for tensor in stored if len(tensor.dims) == 2 and min(tensor.dims) >= 48]
        types = [tensor.data_type for tensor in linear]
        assert types.count(onnx.TensorProto.FLOAT16) == 1
        assert types.count(onnx.TensorProto.INT8) == 15

    @pytest.mark.slow
    @pytest.mark.overnight
    def test_the_fallback_repairs_weights_alone(
        self, poisoned: Path, small_config: Path, tmp_path: Path
    ) -> None:
        pytest.importorskip("nncf")
        lines: list[str] = []
        folder = export(
            poisoned, config=small_config, output=tmp_path / "b", int8=True, weights_only=True,
            tolerance=0.93, progress=lines.append,
        )  # fmt: skip
        manifest = Bundle.open(folder).manifest
        assert manifest.verification.passed
        assert manifest.options["float_layers"] == [POISONED]
        assert "calibrating" not in "\n".join(lines)
        stored = onnx.load(folder / "encoder.onnx").graph.initializer
        eight = [tensor for tensor in stored if tensor.data_type == onnx.TensorProto.INT8]
        assert len(eight) == 18  # of 19 layers


@dataclass(frozen=True)
class Everything(FloatOptions, WeightsOnlyOptions):
    """Options of an exporter that knows every scheme but palettes."""


@dataclass(frozen=True)
class CalibratedAndHalf(HalfOption, CalibratedOptions):
    """The same without weights alone."""


@dataclass
class Bench:
    """Builds nothing; an attempt has the mask IoU that ``iou`` gives its options."""

    iou: Callable[[Everything], float]
    built: list[Everything] = field(default_factory=list)

    def __call__(self, options: Everything) -> Attempt:
        self.built.append(options)
        iou, gate = self.iou(options), 0.97 if getattr(options, "int8", False) else 0.995
        record = VerificationRecord(iou >= gate, "error", mask_iou_mean=iou, tolerance=gate)
        facts = ModelFacts("sam", "vit", 256, 64, {})
        return Attempt(options, facts, SourceRecord("a", "b", "c"), (), record)


ERRORS = {f"layer{i}": 1 / (i + 1) for i in range(20)}


class TestFallback:
    @pytest.mark.parametrize(("needed", "tried"), [(1, [1]), (3, [1, 2, 4]), (99, [1, 2, 4, 8])])
    def test_more_and_more_layers_return(self, needed: int, tried: list[int]) -> None:
        build = Bench(lambda options: 0.98 if len(options.float_layers) >= needed else 0.5)
        missed = build(Everything(int8=True))
        attempt = repair(missed, build, lambda: ERRORS, lambda line: None)
        assert [len(options.float_layers) for options in build.built[1:]] == tried
        assert build.built[-1].float_layers == tuple(ERRORS)[: tried[-1]]
        assert attempt.record.passed == (needed < 99)

    @pytest.mark.parametrize(
        ("half_iou", "float_iou", "says"),
        [
            (0.999, 1.0, "pass half=True instead of int8=True, which passes"),
            (0.9, 1.0, "leave int8=True out: float32 passes"),
            (0.9, 0.9, ""),
        ],
    )
    def test_the_nearest_option_is_tried(
        self, half_iou: float, float_iou: float, says: str, tmp_path: Path
    ) -> None:
        images = tmp_path / "1.png"
        Image.fromarray(generate_scene(1).image).save(images)
        build = Bench(lambda options: half_iou if options.half else float_iou)
        options = CalibratedAndHalf(int8=True, data=str(images))
        remedy = nearest(options, build)
        assert remedy.startswith(says)
        assert bool(remedy) == bool(says)
        assert not any(tried.int8 or tried.data for tried in build.built)
        record = VerificationRecord(False, "error", mask_iou_mean=0.5, tolerance=0.97)
        with pytest.raises(VerificationError, match=says or "; pass verify=warn"):
            check(record, remedy)

    @pytest.mark.parametrize(
        ("missed", "passes", "says"),
        [
            (
                {"int8": True},
                {"int8", "weights_only"},
                "pass int8=True weights_only=True instead of int8=True",
            ),
            ({"int8": True}, {"bf16"}, "pass bf16=True instead of int8=True"),
            ({"int8": True, "half": True}, {"half"}, "pass half=True instead of int8=True"),
            ({"int8": True, "weights_only": True}, {"int8", "weights_only"}, "leave int8=True wei"),
            ({"half": True}, {"bf16"}, "pass bf16=True instead of half=True"),
            ({"bf16": True}, {"half"}, "pass half=True instead of bf16=True"),
            ({"bf16": True}, set(), "leave bf16=True out"),
        ],
    )
    def test_the_nearest_of_several(
        self, missed: dict[str, Any], passes: set[str], says: str
    ) -> None:
        def chosen(options: Everything) -> set[str]:
            names = ("int8", "weights_only", "half", "bf16")
            return {name for name in names if getattr(options, name)}

        build = Bench(lambda options: 1.0 if chosen(options) in (passes, set()) else 0.5)
        assert nearest(Everything(**missed), build).startswith(says)
        assert chosen(Everything(**missed)) not in [chosen(options) for options in build.built]

    def test_a_library_that_is_missing_is_not_the_end(self) -> None:
        def build(options: Everything) -> Attempt:
            if options.weights_only:
                raise RuntimeUnavailableError("needs NNCF")
            return Bench(lambda options: 1.0)(options)

        remedy = nearest(Everything(int8=True), build)
        assert remedy.startswith("pass half=True instead of int8=True")

    def test_formats_without_half_are_not_asked_for_it(self) -> None:
        build = Bench(lambda options: 1.0)
        assert nearest(HalfOption(half=True), build).startswith("leave half=True out")
        assert nearest(Int8Options(int8=True), build).startswith("leave int8=True out")
        assert not any(getattr(options, "half", False) for options in build.built)
