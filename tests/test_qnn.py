"""QNN bundles: what is built, and what the simulator makes of it."""

from __future__ import annotations

import copy
import platform
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

from samdeploy import SAM
from samdeploy.bundle import Bundle
from samdeploy.bundle_files import check_references
from samdeploy.errors import BundleError, ExportError, InputError, RuntimeUnavailableError
from samdeploy.exporters.passes.onnx_gelu import OPSET, flatten_gelus
from samdeploy.exporters.passes.onnx_graph import onnx_graph
from samdeploy.exporters.qnn import QnnExporter, QnnOptions
from samdeploy.exporting.int8_repair import repairable
from samdeploy.exporting.pipeline import export
from samdeploy.exporting.verify_sam import verify_sessions
from samdeploy.graphs import ALL_ROLES, DECODER, ENCODER
from samdeploy.models import GraphModule
from samdeploy.runtimes import onnxruntime as ort_runtime
from samdeploy.runtimes.qnn import NPU, QnnRuntime
from samdeploy.runtimes.qnn_simulator import QnnSimulatorRuntime
from samdeploy.runtimes.torch import TorchSession
from samdeploy.session import RuntimeOptions, TensorSpec
from samdeploy.testing import ExporterContract, RuntimeContract
from samdeploy.testing.small_model import answers, feeds_of, small_graphs
from tests.encoder_session import opened

pytest.importorskip("onnxruntime_qnn")

pytestmark = [
    pytest.mark.exporting,
    pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="x86 simulates"),
]

FEW: dict[str, Any] = {"max_prompts": 3, "max_points": 8}


@pytest.fixture(scope="session", autouse=True)
def plugin() -> None:
    """Registered, as an export does before it writes."""
    assert QnnExporter.availability().usable


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, exporter = tmp_path_factory.mktemp("qnn"), QnnExporter()
    options = QnnOptions(**FEW)
    return {
        role: folder / exporter.export(graph, folder, options).files[0]
        for role, graph in small_graphs().items()
    }


class TestExporter(ExporterContract):
    format = "qnn"
    options: ClassVar[dict[str, Any]] = {**FEW, "soc": "sm8550"}
    tolerance = 2e-2  # float16


class TestSimulator(RuntimeContract):
    runtime = "qnn-simulator"
    tolerance = 1e-2
    split_tolerance = 2e-2

    @classmethod
    def find_graphs(cls, fixture: Callable[[str], Any]) -> dict[str, Path]:
        graphs: dict[str, Path] = fixture("written")
        assert set(graphs) == set(ALL_ROLES)
        return graphs

    @classmethod
    def find_options(cls, fixture: Callable[[str], Any]) -> RuntimeOptions:
        return RuntimeOptions()


def test_this_machine_is_no_snapdragon(written: dict[str, Path]) -> None:
    for state in (
        QnnRuntime.availability(),
        ort_runtime.OnnxRuntime.availability().absent()["qnn"],
    ):
        assert state.reason == "QNNExecutionProvider finds no hardware that it can use"
    assert QnnRuntime.availability().install == "runtime=qnn-simulator checks a bundle on x86"


def test_on_a_snapdragon(written: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """With the simulator's processor as the NPU."""
    devices = ort_runtime.ort.get_ep_devices

    def npus() -> list[Any]:
        kind = SimpleNamespace(type=SimpleNamespace(name="NPU"))
        return [SimpleNamespace(ep_name=each.ep_name, device=kind, own=each) for each in devices()]

    add = ort_runtime.ort.SessionOptions.add_provider_for_devices
    monkeypatch.setattr(ort_runtime.ort, "get_ep_devices", npus)
    monkeypatch.setattr(
        ort_runtime.ort.SessionOptions,
        "add_provider_for_devices",
        lambda self, chosen, settings: add(self, [each.own for each in chosen], settings),
    )
    assert QnnRuntime.availability().devices == ("qnn",)
    assert opened(QnnRuntime, written[ENCODER], "qnn").provider == "QNN, sm8650"


def test_refusals(written: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"soc=sm8350; expected one of sm8450, .*sc8380xp\."):
        QnnOptions(soc="sm8350")
    for runtime, device, words in (
        (QnnSimulatorRuntime, "qnn", "'qnn' is not one of runtime 'qnn-simulator', .*runtime=qnn"),
        (QnnRuntime, "cpu", "'cpu' is not one of runtime 'qnn', .*pass device=qnn"),
    ):
        with pytest.raises(RuntimeUnavailableError, match=words):
            opened(runtime, written[ENCODER], device)
    with pytest.raises(InputError, match="threads=2; runtime 'qnn-simulator' has no use for it"):
        opened(QnnSimulatorRuntime, written[ENCODER], "cpu", threads=2)
    broken = tmp_path / "encoder.qnn"
    for content in (b"nothing", written[ENCODER].read_bytes()[:-1000]):
        broken.write_bytes(content)
        with pytest.raises(BundleError, match=r"QNN cannot open '.*encoder\.qnn' \(.*soc= this"):
            opened(QnnSimulatorRuntime, broken, "cpu")


def test_eight_bits(tmp_path: Path) -> None:
    """Of the weights of the encoder; activations have sixteen."""
    graph = small_graphs()[ENCODER]
    sizes = []
    for options in (QnnOptions(), QnnOptions(int8=True)):
        QnnExporter().export(graph, tmp_path, options)
        path = tmp_path / "encoder.qnn"
        sizes.append(path.stat().st_size)
        feeds = feeds_of(ENCODER, 1, 1)
        found = opened(QnnSimulatorRuntime, path, "cpu").run(feeds)["image_embeddings"]
        expected = answers(graph, feeds)["image_embeddings"]
        assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
    assert options.precision == "int8"
    assert sizes[1] < sizes[0]
    assert not repairable(options)
    with pytest.raises(InputError, match="data= is for int8=True"):
        QnnOptions(data="images")


class Gelus(nn.Module):
    """Behind convolutions, a sum with one, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, padding=1)
        self.spread = nn.ConvTranspose2d(8, 8, 2, stride=2)
        self.same = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.linear = nn.Linear(8, 8)

    def forward(self, image: Tensor) -> Tensor:
        gelu = nn.functional.gelu
        x = gelu(self.spread(gelu(self.convolution(image))))
        return gelu(self.linear(gelu(x + self.same(x)).flatten(2).transpose(1, 2)))


@pytest.fixture(scope="module")
def gelus() -> GraphModule:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Gelus().eval().requires_grad_(False)
    inputs, outputs = TensorSpec("image", (1, 3, 16, 16)), TensorSpec("features", (1, 1024, 8))
    return GraphModule(ENCODER, module, (inputs,), (outputs,))


def test_gelus_have_three_dimensions(gelus: GraphModule, tmp_path: Path) -> None:
    model = onnx_graph(gelus, tmp_path, opset=OPSET)
    flatten_gelus(model)
    onnx.checker.check_model(model, full_check=True)
    made = [n.name for n in model.graph.node if n.name.endswith("_reshape")]
    assert len(made) == 2 * 3
    inferred = onnx.shape_inference.infer_shapes(model).graph
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in inferred.value_info}
    found = [ranks.get(n.output[0], 3) for n in model.graph.node if n.op_type == "Gelu"]
    assert found == [3] * 4
    feeds = {"image": np.random.default_rng(0).normal(0, 1, (1, 3, 16, 16)).astype(np.float32)}
    (answer,) = ort.InferenceSession(model.SerializeToString()).run(None, feeds)
    np.testing.assert_allclose(answer, gelus.run(feeds)["features"], atol=1e-5)


def test_gelus_are_as_fine_as_float16(gelus: GraphModule, tmp_path: Path) -> None:
    """Those that join a convolution are several times as coarse, and too high."""
    QnnExporter().export(gelus, tmp_path, QnnOptions())
    feeds = {"image": np.random.default_rng(0).normal(0, 1, (1, 3, 16, 16)).astype(np.float32)}
    found = opened(QnnSimulatorRuntime, tmp_path / "encoder.qnn", "cpu").run(feeds)["features"]
    assert np.abs(found - gelus.run(feeds)["features"]).mean() < 1e-4


def test_a_graph_that_the_plugin_does_not_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from samdeploy.exporters import qnn

    def with_a_stranger(*given: Any, **named: Any) -> onnx.ModelProto:
        model = graph(*given, **named)
        model.graph.node[-1].op_type = "Hardmax"
        return model

    graph = qnn.onnx_graph
    monkeypatch.setattr(qnn, "onnx_graph", with_a_stranger)
    with pytest.raises(ExportError, match=r"convert the encoder for sm8650 \(.*; export format=on"):
        QnnExporter().export(small_graphs()[ENCODER], tmp_path, QnnOptions())
    assert not list(tmp_path.iterdir())


def test_the_batch_beside_a_file_is_listed(written: dict[str, Path]) -> None:
    folder = written[ENCODER].parent
    names = {path.name for path in folder.iterdir()}
    check_references(folder, names)
    with pytest.raises(BundleError, match=r"'decoder_batch\.qnn', which the manifest"):
        check_references(folder, names - {"decoder_batch.qnn"})


def test_a_flipped_weight_fails_the_verification(written: dict[str, Path], tmp_path: Path) -> None:
    reference = {role: TorchSession(small_graphs()[role], "cpu") for role in (ENCODER, DECODER)}
    content, path = bytearray(written[ENCODER].read_bytes()), tmp_path / "encoder.qnn"
    place = place_of_a_weight(bytes(content), tmp_path)
    for passes in (True, False):
        path.write_bytes(content)
        session = opened(QnnSimulatorRuntime, path, "cpu")
        candidate = {**reference, ENCODER: session}
        assert verify_sessions(reference, candidate, precision="fp16", images=1).passed is passes
        session.close()
        content[place + 1] ^= 0x40  # the highest bit of the exponent


def place_of_a_weight(content: bytes, folder: Path) -> int:
    """Where a file of the encoder differs from that of another weight."""
    graph = copy.deepcopy(small_graphs()[ENCODER])
    weight = graph.module.get_parameter("sam.image_encoder.patch_embed.proj.weight").data.view(-1)
    before = weight[0].half().numpy().tobytes()
    weight[0] *= -1.5
    after = weight[0].half().numpy().tobytes()
    QnnExporter().export(graph, folder, QnnOptions(**FEW))
    own, other = (context(each) for each in (content, (folder / "encoder.qnn").read_bytes()))
    (place,) = (
        i for i in range(0, len(own), 2) if own[i : i + 2] == before and other[i : i + 2] == after
    )
    return content.index(own) + place


def context(content: bytes) -> bytes:
    """What the plugin built, without ONNX around it."""
    (node,) = onnx.load_from_string(content).graph.node
    found: bytes = next(each.s for each in node.attribute if each.name == "ep_cache_context")
    return found


@pytest.mark.slow
@pytest.mark.overnight
@pytest.mark.timeout(0)
@pytest.mark.parametrize(("precision", "options"), [("fp16", {}), ("int8", {"int8": True})])
def test_the_shipped_model_in_the_simulator(
    tmp_path: Path, precision: str, options: dict[str, Any]
) -> None:
    bundle = export("sam_tiny.pt", "qnn", output=tmp_path / "tiny", **options)
    manifest = Bundle.open(bundle).manifest
    record = manifest.verification
    assert (manifest.format, manifest.runtime, manifest.precision) == ("qnn", "qnn", precision)
    assert (record.passed, record.mode) == (True, "simulated")
    assert record.provider == "QNN simulator, sm8650"
    assert record.sentence.startswith("passed, simulated, mean mask IoU")
    with pytest.raises(RuntimeUnavailableError, match=f"{NPU.name} finds no hardware"):
        SAM(bundle)
