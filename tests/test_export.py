"""Exporting: the graphs themselves, the pipeline's promises, and its refusals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import samdeploy.exporters.onnx as onnx_exporter
import samdeploy.exporters.passes.onnx_graph as onnx_graph
from samdeploy.bundle import Bundle, VerificationRecord
from samdeploy.contracts import names_of
from samdeploy.errors import CheckpointError, InputError, VerificationError
from samdeploy.exporting import verify_sam
from samdeploy.exporting.pipeline import export
from samdeploy.exporting.verify import verify_bundle
from samdeploy.graphs import ALL_ROLES, SAM_CONTRACT, SCORER
from samdeploy.models import graph_modules
from samdeploy.models.load import load_sam

pytestmark = pytest.mark.exporting


@pytest.fixture(params=ALL_ROLES)
def graph(request: pytest.FixtureRequest, small_bundle: Path) -> onnx.ModelProto:
    return onnx.load(small_bundle / f"{request.param}.onnx")


def ranks(model: onnx.ModelProto) -> Iterator[int]:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    for value in inferred.graph.value_info:
        if value.type.tensor_type.HasField("shape"):
            yield len(value.type.tensor_type.shape.dim)


class TestGraphs:
    def test_opset_and_standard_operators_only(self, graph: onnx.ModelProto) -> None:
        assert [(entry.domain, entry.version) for entry in graph.opset_import] == [("", 17)]

    def test_no_control_flow_and_no_shapes_that_depend_on_values(
        self, graph: onnx.ModelProto
    ) -> None:
        operators = {node.op_type for node in graph.graph.node}
        assert operators.isdisjoint({"If", "Loop", "Scan", "NonZero", "OneHot", "Unique", "TopK"})

    def test_rank_is_at_most_five(self, graph: onnx.ModelProto) -> None:
        found = list(ranks(graph))
        assert len(found) > len(graph.graph.node) / 2
        assert max(found) <= 5

    def test_dimensions_are_named(self, small_bundle: Path) -> None:
        graph = onnx.load(small_bundle / "decoder.onnx").graph
        shapes = {
            value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
            for value in (*graph.input, *graph.output)
        }
        assert shapes["point_coords"] == ["prompts", "points", 2]
        assert shapes["low_res_masks"] == ["prompts", 4, 64, 64]
        inputs, _ = names_of(SAM_CONTRACT.tensors["decoder"])
        assert tuple(value.name for value in graph.input) == inputs

    def test_metadata(self, graph: onnx.ModelProto) -> None:
        facts = {entry.key: entry.value for entry in graph.metadata_props}
        assert facts["architecture"] == "vit_48x4"
        assert facts["image_size"] == "256"
        assert facts["role"] in ALL_ROLES
        assert graph.producer_name == "samdeploy"
        assert all(value.doc_string for value in (*graph.graph.input, *graph.graph.output))

    def test_static_shapes_are_folded(self, small_bundle: Path) -> None:
        operators = [node.op_type for node in onnx.load(small_bundle / "encoder.onnx").graph.node]
        assert "Shape" not in operators


def test_weights_above_the_limit_go_to_a_side_file(
    small_checkpoint: Path, small_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_graph, "SIDE_FILE_BYTES", 100_000)
    folder = export(small_checkpoint, config=small_config, output=tmp_path / "side")
    bundle = Bundle.open(folder)
    names = [[record.path for record in graph.files] for graph in bundle.manifest.graphs]
    assert [first for first, *_ in names] == [f"{role}.onnx" for role in ALL_ROLES]
    assert names[:2] == [
        ["encoder.onnx", "encoder.onnx.data"],
        ["decoder.onnx", "decoder.onnx.data"],
    ]
    assert (folder / "encoder.onnx").stat().st_size < 500_000
    assert bundle.manifest.verification.passed


@pytest.mark.parametrize(
    "opset", [pytest.param(18, marks=[pytest.mark.slow, pytest.mark.overnight]), 20]
)
def test_other_opsets(
    small_checkpoint: Path, small_config: Path, tmp_path: Path, opset: int
) -> None:
    folder = export(small_checkpoint, config=small_config, output=tmp_path / "b", opset=opset)
    assert onnx.load(folder / "encoder.onnx").opset_import[0].version == opset
    assert Bundle.open(folder).manifest.verification.passed


@pytest.mark.slow
def test_without_simplification(small_checkpoint: Path, small_config: Path, tmp_path: Path) -> None:
    folder = export(small_checkpoint, config=small_config, output=tmp_path / "b", simplify=False)
    assert Bundle.open(folder).manifest.verification.passed


def test_another_image_size(small_checkpoint: Path, small_config: Path, tmp_path: Path) -> None:
    folder = export(small_checkpoint, config=small_config, output=tmp_path / "b", imgsz=192)
    manifest = Bundle.open(folder).manifest
    assert manifest.image_size == 192
    assert manifest.verification.passed
    assert verify_bundle(folder, small_checkpoint).passed


def test_default_name_is_in_the_current_folder(
    small_checkpoint: Path, small_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = export(small_checkpoint, config=small_config, verify="off")
    assert folder == Path("weights_onnx")
    record = Bundle.open(folder).manifest.verification
    assert (record.mode, record.passed) == ("off", False)


def test_progress_is_told(small_checkpoint: Path, small_config: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    export(small_checkpoint, config=small_config, output=tmp_path / "b", progress=lines.append)
    assert any("exporting vit_48x4" in line for line in lines)
    assert any("verifying" in line for line in lines)


class TestVerification:
    @pytest.fixture
    def spoiled(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An exporter whose encoder has one weight wrong."""
        save = onnx_exporter.save_onnx

        def spoil(model: onnx.ModelProto, folder: Path, role: str) -> tuple[Path, ...]:
            if role == "encoder":
                largest = max(model.graph.initializer, key=lambda t: len(t.raw_data))
                values = np.frombuffer(largest.raw_data, np.float32).copy()
                values[::2] *= -1
                largest.raw_data = values.tobytes()
            return save(model, folder, role)

        monkeypatch.setattr(onnx_exporter, "save_onnx", spoil)

    @pytest.mark.usefixtures("spoiled")
    def test_a_wrong_artifact_is_not_written(
        self, small_checkpoint: Path, small_config: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(VerificationError, match="mask IoU mean"):
            export(small_checkpoint, config=small_config, output=tmp_path / "b")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.usefixtures("spoiled")
    @pytest.mark.slow
    def test_warn_writes_it_and_says_so(
        self, small_checkpoint: Path, small_config: Path, tmp_path: Path
    ) -> None:
        folder = export(small_checkpoint, config=small_config, output=tmp_path / "b", verify="warn")
        record = Bundle.open(folder).manifest.verification
        assert (record.passed, record.mode) == (False, "warn")
        assert not verify_bundle(folder, small_checkpoint).passed

    def test_a_good_bundle_passes_again(self, small_bundle: Path, small_checkpoint: Path) -> None:
        record = verify_bundle(small_bundle, small_checkpoint)
        assert record.passed
        assert record.prompts >= 16
        assert record.embedding_cosine > 0.999999
        assert record.logits_max_error < 1e-4

    def test_tolerance_is_the_gate(
        self,
        small_checkpoint: Path,
        small_config: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def nearly(*args: object, tolerance: float | None, **kwargs: object) -> VerificationRecord:
            gate = 0.999 if tolerance is None else tolerance
            return VerificationRecord(gate <= 0.98, "error", mask_iou_mean=0.98, tolerance=gate)

        monkeypatch.setattr(verify_sam, "verify_sessions", nearly)
        with pytest.raises(VerificationError, match=r"0\.98"):
            export(small_checkpoint, config=small_config, output=tmp_path / "b")
        export(small_checkpoint, config=small_config, output=tmp_path / "b", tolerance=0.97)


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"format": "onx"}, "did you mean 'onnx'"),
            ({"format": "caffe"}, "expected one of"),
            ({"opset": 11}, "opset=11"),
            ({"tf32": True}, "tf32=True; format=onnx has no use for it"),
            ({"tf23": True}, "unknown option 'tf23'"),
            ({"verify": "maybe"}, "verify='maybe'"),
            ({"tolerance": 2}, "tolerance=2"),
            ({"imgsz": 100}, "imgsz=100"),
        ],
    )
    def test_options(
        self,
        small_checkpoint: Path,
        small_config: Path,
        tmp_path: Path,
        options: dict[str, object],
        says: str,
    ) -> None:
        with pytest.raises(InputError, match=says):
            export(
                small_checkpoint, config=small_config, output=tmp_path / "b",
                **options,  # type: ignore[arg-type]
            )  # fmt: skip
        assert list(tmp_path.iterdir()) == []

    def test_a_bundle_is_no_checkpoint(self, small_bundle: Path) -> None:
        with pytest.raises(InputError, match="is a folder"):
            export(small_bundle)

    def test_a_config_that_does_not_fit(self, small_checkpoint: Path, tmp_path: Path) -> None:
        # Half the heads would load without complaint, so only the numbers can tell; a wrong
        # window layout cannot.
        with pytest.raises(CheckpointError):
            export(
                small_checkpoint,
                config={"image_encoder": {"window_size": 5}},
                output=tmp_path / "b",
            )
        assert list(tmp_path.iterdir()) == []


def test_the_saved_graph_runs_alone(small_bundle: Path) -> None:
    """An embedder needs nothing of ours: plain ONNX Runtime on the files."""
    session = ort.InferenceSession(
        small_bundle / "encoder.onnx", providers=["CPUExecutionProvider"]
    )
    assert session.run(None, {"image": np.zeros((1, 3, 256, 256), np.float32)})[0].shape == (
        1, 64, 16, 16,
    )  # fmt: skip


def test_the_exporter_alone_writes_only_its_graph(
    small_checkpoint: Path, small_config: Path, tmp_path: Path
) -> None:
    graph = graph_modules(load_sam(small_checkpoint, config=small_config))[SCORER]
    written = onnx_exporter.OnnxExporter().export(graph, tmp_path, onnx_exporter.OnnxOptions())
    assert (written.role, written.files) == (SCORER, (Path("scorer.onnx"),))
    assert (written.inputs, written.outputs) == (graph.inputs, graph.outputs)
    assert [path.name for path in tmp_path.iterdir()] == ["scorer.onnx"]
