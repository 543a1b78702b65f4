"""Weights stored in 16 bits: which, how they are rounded, and that nothing else changes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from samdeploy.bundle import Bundle
from samdeploy.exporters.passes.onnx_storage import store_as
from samdeploy.exporters.passes.weights import is_large, narrow
from samdeploy.exporting.calibration import calibration_inputs
from samdeploy.exporting.pipeline import export
from samdeploy.graphs import ALL_ROLES, ENCODER
from samdeploy.models import GraphModule, graph_modules
from samdeploy.models.load import load_sam
from samdeploy.opening import open_graphs
from samdeploy.registry import load_exporter
from samdeploy.session import RuntimeOptions

pytestmark = pytest.mark.exporting


def onnx_bytes(path: Path) -> Counter[str]:
    """Bytes of weights by type."""
    found = Counter[str]()
    for tensor in onnx.load(path).graph.initializer:
        found[onnx.TensorProto.DataType.Name(tensor.data_type)] += len(tensor.raw_data)
    return found


def openvino_bytes(path: Path) -> Counter[str]:
    ov = pytest.importorskip("openvino")
    found = Counter[str]()
    for node in ov.Core().read_model(path).get_ops():
        if node.get_type_name() == "Constant":
            found[node.get_element_type().get_type_name()] += node.get_byte_size()
    return found


class TestRule:
    @pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
    def test_rounded_as_torch_rounds(self, kind: torch.dtype) -> None:
        values = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
        bits = torch.from_numpy(narrow(values, kind))
        assert torch.equal(bits.view(kind), torch.from_numpy(values).to(kind))

    def test_halves_go_to_the_even_number(self) -> None:
        below, above = 1 + 2**-8, 1 + 3 * 2**-8  # between neighbours of bfloat16
        values = np.array([below, above, 3e38], np.float32)
        assert [f"{bits:x}" for bits in narrow(values, torch.bfloat16)] == ["3f80", "3f82", "7f62"]

    @pytest.mark.parametrize(
        ("shape", "large"),
        [
            ((768, 768), True),
            ((1, 64, 64, 768), True),
            ((64, 1, 4, 4), True),
            ((16, 16), False),
            ((5120,), False),
            ((5120, 1), False),
            ((1, 1, 5120), False),
            ((), False),
        ],
    )
    def test_biases_and_scales_stay(self, shape: tuple[int, ...], large: bool) -> None:
        assert is_large(shape) == large

    def test_onnx_graphs_change_in_nothing_else(self, small_bundle: Path) -> None:
        for role in ALL_ROLES:
            model = onnx.load(small_bundle / f"{role}.onnx")
            before = model.SerializeToString()
            stored = store_as(model, onnx.TensorProto.BFLOAT16)
            assert model.SerializeToString() == before
            onnx.checker.check_model(stored, full_check=True)
            assert [opset.version for opset in stored.opset_import] == [17]
            short = [t for t in stored.graph.initializer if t.name.endswith("_stored")]
            assert short and {t.data_type for t in short} == {onnx.TensorProto.BFLOAT16}
            operators = [
                Counter(node.op_type for node in graph.node if node.op_type != "Constant")
                for graph in (model.graph, stored.graph)
            ]
            assert operators[1] - operators[0] == Counter(Cast=len(short))
            assert not operators[0] - operators[1]


@pytest.fixture(scope="module")
def rounded(
    small_checkpoint: Path, small_config: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The small model with what an artifact stores in 16 bits rounded to bfloat16."""
    state = load_sam(small_checkpoint, config=small_config).state_dict()
    for name, value in state.items():
        # Of the relative positions, those of global attention become tables that are large.
        if is_large(value.shape) or ("rel_pos" in name and len(value) == 31):
            state[name] = value.to(torch.bfloat16).float()
    path = tmp_path_factory.mktemp("rounded") / "rounded.pt"
    torch.save(state, path)
    return path


def embedding(path: Path, runtime: str, **options: Path) -> NDArray[np.float32]:
    image = next(calibration_inputs("", 256))
    opening = RuntimeOptions(precision="fp32", **options)  # type: ignore[arg-type]
    sessions, _ = open_graphs({ENCODER: path}, runtime, "cpu", opening)
    found: NDArray[np.float32] = sessions[ENCODER].run({"image": image})["image_embeddings"]
    sessions[ENCODER].close()
    return found


@pytest.fixture(scope="module")
def module(small_checkpoint: Path, small_config: Path) -> GraphModule:
    return graph_modules(load_sam(small_checkpoint, config=small_config))[ENCODER]


def export_encoder(format: str, module: GraphModule, folder: Path, **options: Any) -> Path:
    pytest.importorskip(f"samdeploy.exporters.{format}")
    exporter = load_exporter(format)
    written = exporter().export(module, folder, exporter.Options(**options))
    return folder / written.files[0]


@pytest.mark.parametrize(
    ("format", "runtimes"), [("onnx", ("onnxruntime", "openvino")), ("openvino", ("openvino",))]
)
def test_bf16_computes_what_torch_does_with_rounded_weights(
    format: str,
    runtimes: tuple[str, ...],
    module: GraphModule,
    rounded: Path,
    small_checkpoint: Path,
    small_config: Path,
    tmp_path: Path,
) -> None:
    path = export_encoder(format, module, tmp_path, bf16=True)
    expected = embedding(rounded, "torch", config=small_config)
    plain = embedding(small_checkpoint, "torch", config=small_config)
    for runtime in runtimes:
        found = embedding(path, runtime)
        assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
        assert np.abs(found - plain).max() > 1e-3 * np.abs(plain).max()


@pytest.mark.slow
def test_bf16_in_openvino_files(module: GraphModule, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    plain = export_encoder("openvino", module, tmp_path / "plain")
    short = export_encoder("openvino", module, tmp_path, bf16=True)
    found, before = openvino_bytes(short), openvino_bytes(plain)
    assert found["f32"] + 2 * found["bf16"] == before["f32"]
    sizes = [path.with_suffix(".bin").stat().st_size for path in (short, plain)]
    assert sizes[0] <= 0.55 * sizes[1]


@pytest.mark.slow
def test_bf16_of_the_shipped_model_passes_its_gate(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(export("sam_tiny.pt", output=tmp_path / "bf16", bf16=True))
    assert bundle.manifest.precision == "bf16"
    record = bundle.manifest.verification
    assert (record.passed, record.tolerance) == (True, 0.995)
    assert bundle.bytes <= 0.55 * Bundle.open(tiny_bundle).bytes
    for path in bundle.graphs().values():
        found = onnx_bytes(path)
        assert found["BFLOAT16"] > 5 * found["FLOAT"]


_OVERNIGHT = [pytest.mark.slow, pytest.mark.overnight]


@pytest.mark.parametrize("weights_only", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("format", "option", "eight", "short", "full"),
    [
        ("onnx", "half", "INT8", "FLOAT16", "FLOAT"),
        ("onnx", "bf16", "INT8", "BFLOAT16", "FLOAT"),
        pytest.param("openvino", "half", "i8", "f16", "f32", marks=_OVERNIGHT),
        pytest.param("openvino", "bf16", "i8", "bf16", "f32", marks=_OVERNIGHT),
    ],
)
def test_what_is_not_8_bit_is_16_bit(
    format: str,
    option: str,
    eight: str,
    short: str,
    full: str,
    weights_only: bool,
    module: GraphModule,
    tmp_path: Path,
) -> None:
    pytest.importorskip("nncf")
    options = {"int8": True, "weights_only": weights_only, option: True}
    path = export_encoder(format, module, tmp_path, **options)
    found = onnx_bytes(path) if format == "onnx" else openvino_bytes(path)
    position_embedding = 16 * 16 * 48  # never 8-bit
    assert found[eight] > 100_000
    assert found[short] >= 2 * position_embedding
    assert found[full] < 4 * position_embedding
