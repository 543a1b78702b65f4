"""TensorRT: engines that TensorRT-RTX really builds here, and the runtime on an emulated GPU.

No engine is executed by NVIDIA's libraries in these tests; where there is no driver, none is
deserialised either, because TensorRT-RTX does not do that without one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import chain, islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

import samdeploy.exporters.tensorrt as exporter
import samdeploy.runtimes.tensorrt_library as tensorrt_library
from samdeploy import SAM
from samdeploy.bundle import Bundle
from samdeploy.checkpoints import resolve_checkpoint
from samdeploy.contracts import names_of
from samdeploy.cuda_driver import find_gpus
from samdeploy.decoding import Decoding
from samdeploy.embedding import Embedding
from samdeploy.errors import BundleError, InputError, RuntimeUnavailableError
from samdeploy.exporters.passes.onnx_graph import onnx_graph
from samdeploy.exporters.passes.onnx_half import to_half
from samdeploy.exporters.passes.onnx_int8 import to_int8
from samdeploy.exporting.calibration import calibration_inputs
from samdeploy.exporting.pipeline import export
from samdeploy.exporting.verify_sam import verify_sessions
from samdeploy.geometry import Transform
from samdeploy.graphs import ALL_ROLES, DECODER, ENCODER, PREPARE, ROLES, SAM_CONTRACT, SCORER
from samdeploy.models import RepVitConfig, Sam, SamConfig, graph_modules
from samdeploy.models.families import load_model
from samdeploy.opening import open_graphs
from samdeploy.prompts import Prompt, encode_prompts
from samdeploy.registry import EXPORTERS, RUNTIMES, availability, load_runtime
from samdeploy.runtimes.tensorrt_library import TensorRt, TensorRtRtx, logger
from samdeploy.runtimes.tensorrt_sidecar import Sidecar, read_sidecar
from samdeploy.scenes import generate_scene
from samdeploy.session import Array, RuntimeOptions
from samdeploy.sidecars import sidecar_path
from tests.conftest import ExportOnce
from tests.contract.emulated_gpu import Driver, Emulation

pytestmark = pytest.mark.exporting

#: An encoder that has no other layers.
CONVOLUTIONS = SamConfig(
    RepVitConfig(embed_dims=(16, 24, 32, 40), depths=(1, 1, 1, 1), img_size=64)
)

GPU = bool(find_gpus()[0])
without_gpu = pytest.mark.skipif(GPU, reason="there is a GPU here")


@pytest.fixture(scope="module")
def rtx() -> TensorRtRtx:
    return TensorRtRtx()


@pytest.fixture(scope="module")
def tiny_engines(export_once: ExportOnce) -> Path:
    """All graphs of the shipped model."""
    return export_once("tiny_engines", "sam_tiny.pt", "engine")


@pytest.fixture(scope="module")
def half_engines(export_once: ExportOnce, small_checkpoint: Path, small_config: Path) -> Path:
    return export_once(
        "half_engines", small_checkpoint, "trt", config=small_config, half=True, max_prompts=8,
        max_points=6, compute_capability="8.6, 12.0", workspace=0.5,
    )  # fmt: skip


@pytest.fixture(scope="module")
def traced(
    small_checkpoint: Path, small_config: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, onnx.ModelProto]:
    """What engines are built from, by role."""
    folder = tmp_path_factory.mktemp("traced")
    graphs = load_model(small_checkpoint, config=small_config).graphs
    return {role: onnx_graph(graphs[role], folder) for role in ALL_ROLES}


@pytest.fixture(scope="module")
def half_graphs(
    traced: dict[str, onnx.ModelProto], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The same for ``half=True``."""
    return short_graphs(traced, tmp_path_factory.mktemp("half"), onnx.TensorProto.FLOAT16)


def short_graphs(models: dict[str, onnx.ModelProto], folder: Path, kind: int) -> dict[str, Path]:
    for role, model in models.items():
        onnx.save(to_half(model, kind), folder / f"{role}.onnx")
    return {role: folder / f"{role}.onnx" for role in models}


@pytest.mark.slow
@pytest.mark.overnight
class TestBuiltEngines:
    @without_gpu
    def test_the_manifest_says_that_nothing_ran(self, tiny_engines: Path) -> None:
        manifest = Bundle.open(tiny_engines).manifest
        assert (manifest.format, manifest.runtime, manifest.precision) == (
            "tensorrt", "tensorrt", "fp32",
        )  # fmt: skip
        assert [graph.role for graph in manifest.graphs] == list(ALL_ROLES)
        for graph in manifest.graphs:
            files = [record.path for record in graph.files]
            assert files == [f"{graph.role}.engine", f"{graph.role}.json"]
        assert (manifest.verification.passed, manifest.verification.mode) == (False, "not run")
        assert "built, not executed" in manifest.verification.note
        assert "no NVIDIA driver" in manifest.verification.note

    def test_sidecars(self, tiny_engines: Path, half_engines: Path, rtx: TensorRtRtx) -> None:
        for role in ALL_ROLES:
            plain = read_sidecar(tiny_engines / f"{role}.engine")
            half = read_sidecar(half_engines / f"{role}.engine")
            assert (plain.library, plain.version, plain.precision) == (
                "tensorrt_rtx", rtx.version, "fp32",
            )  # fmt: skip
            assert plain.compute_capabilities == TensorRtRtx.default_capabilities
            assert half.compute_capabilities == ("8.6", "12.0")
            assert half.precision == "fp16"
            assert plain.layers["float32"] and "float16" not in plain.layers
            assert half.layers["float32"] and half.layers["float16"]

    @pytest.mark.overnight
    @pytest.mark.slow
    def test_bfloat16(self, small_checkpoint: Path, small_config: Path, tmp_path: Path) -> None:
        folder = export(
            small_checkpoint, "trt", output=tmp_path / "bf16", config=small_config, bf16=True
        )
        assert Bundle.open(folder).manifest.precision == "bf16"
        for role in ALL_ROLES:
            sidecar = read_sidecar(folder / f"{role}.engine")
            assert sidecar.precision == "bf16"
            assert sidecar.layers["bfloat16"] > sidecar.layers["float32"] > 0
            assert "float16" not in sidecar.layers

    @pytest.mark.overnight
    @pytest.mark.slow
    @pytest.mark.parametrize("rest", ["float32", "float16"])
    def test_int8(
        self, rest: str, small_checkpoint: Path, small_config: Path, tmp_path: Path
    ) -> None:
        images = tmp_path / "images"
        images.mkdir()
        Image.fromarray(generate_scene(1).image).save(images / "1.png")
        folder = export(
            small_checkpoint, "trt", output=tmp_path / "int8", config=small_config, int8=True,
            half=rest == "float16", data=str(images), float_layers=("image_encoder.blocks.3",),
        )  # fmt: skip
        assert Bundle.open(folder).manifest.precision == "int8"
        layers = read_sidecar(folder / f"{ENCODER}.engine").layers
        # Three blocks of four linear layers, each with its input and its weights.
        assert layers["int8"] == 24
        assert layers[rest] > layers["int8"]
        for role in set(ALL_ROLES) - {ENCODER}:
            assert "int8" not in read_sidecar(folder / f"{role}.engine").layers

    def test_profiles(self, tiny_engines: Path, half_engines: Path) -> None:
        for folder, most, points in ((tiny_engines, 64, 16), (half_engines, 8, 6)):
            (decoder,) = read_sidecar(folder / "decoder.engine").profiles
            assert decoder["point_coords"] == ((1, 1, 2), (most, 2, 2), (most, points, 2))
            assert decoder["has_mask_input"] == ((1,), (most,), (most,))
            assert "image_embeddings" not in decoder
            assert read_sidecar(folder / "encoder.engine").profiles == ()

    @pytest.mark.parametrize("role", ALL_ROLES)
    def test_engines_hold_the_tensors_of_their_graph(
        self, tiny_engines: Path, half_engines: Path, role: str
    ) -> None:
        for folder in (tiny_engines, half_engines):
            content = (folder / f"{role}.engine").read_bytes()
            for name in chain(*names_of(SAM_CONTRACT.tensors[role])):
                assert name.encode() in content

    @pytest.mark.skipif(not GPU, reason="TensorRT-RTX deserialises with an NVIDIA driver only")
    @pytest.mark.parametrize("role", ALL_ROLES)
    def test_deserialised(self, half_engines: Path, rtx: TensorRtRtx, role: str) -> None:
        runtime = rtx.trt.Runtime(logger(rtx.trt))
        path = half_engines / f"{role}.engine"
        engine = runtime.deserialize_cuda_engine(path.read_bytes())
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        assert names == [*chain(*names_of(SAM_CONTRACT.tensors[role]))]
        assert {engine.get_tensor_dtype(name).name for name in names} == {"FLOAT"}
        for profile in read_sidecar(path).profiles:
            for name, shapes in profile.items():
                found = engine.get_tensor_profile_shape(name, 0)
                assert tuple(map(tuple, found)) == shapes

    @without_gpu
    def test_running_one_needs_a_gpu(self, tiny_engines: Path) -> None:
        with pytest.raises(RuntimeUnavailableError, match="no NVIDIA driver is found; install the"):
            SAM(tiny_engines)
        opener = load_runtime("tensorrt")()
        with pytest.raises(RuntimeUnavailableError, match="'cuda' is not usable by TensorRT"):
            opener.open(
                tiny_engines / "encoder.engine", ENCODER, device="cuda", options=RuntimeOptions()
            )


class TestPrecision:
    """The network as TensorRT reads it; being strongly typed, it is what the engine computes."""

    @pytest.fixture(scope="class")
    @classmethod
    def layers(cls, half_graphs: dict[str, Path], rtx: TensorRtRtx) -> list[tuple[str, str]]:
        return cls.read(half_graphs, rtx)

    @staticmethod
    def read(graphs: dict[str, Path], rtx: TensorRtRtx) -> list[tuple[str, str]]:
        """Type and precision of all layers of all graphs."""
        found = []
        for path in graphs.values():
            builder = rtx.trt.Builder(logger(rtx.trt))
            network, parser = exporter.parse_network(builder, path, rtx)
            ports = [network.get_input(i) for i in range(network.num_inputs)]
            ports += [network.get_output(i) for i in range(network.num_outputs)]
            assert {port.dtype.name for port in ports} == {"FLOAT"}
            for layer in map(network.get_layer, range(network.num_layers)):
                found.append((layer.type.name, layer.get_output(0).dtype.name))
            del parser
        return found

    @pytest.mark.parametrize("kind", ["NORMALIZATION", "SOFTMAX"])
    def test_islands_are_float32(self, layers: list[tuple[str, str]], kind: str) -> None:
        types = {dtype for layer, dtype in layers if layer == kind}
        assert types == {"FLOAT"}

    @pytest.mark.parametrize("kind", ["CONVOLUTION", "DECONVOLUTION"])
    def test_the_rest_is_float16(self, layers: list[tuple[str, str]], kind: str) -> None:
        types = {dtype for layer, dtype in layers if layer == kind}
        assert types == {"HALF"}

    def test_only_the_angles_are_multiplied_in_float32(self, layers: list[tuple[str, str]]) -> None:
        types = [dtype for layer, dtype in layers if layer == "MATRIX_MULTIPLY"]
        assert types.count("HALF") > 40
        assert types.count("FLOAT") == 2  # of the decoder and the scorer

    @pytest.mark.slow
    def test_bfloat16(
        self, traced: dict[str, onnx.ModelProto], rtx: TensorRtRtx, tmp_path: Path
    ) -> None:
        graphs = short_graphs(traced, tmp_path, onnx.TensorProto.BFLOAT16)
        types: dict[str, Counter[str]] = defaultdict(Counter)
        for kind, dtype in self.read(graphs, rtx):
            types[kind][dtype] += 1
        for kind in ("NORMALIZATION", "SOFTMAX", "DECONVOLUTION"):
            assert set(types[kind]) == {"FLOAT"}
        assert set(types["CONVOLUTION"]) == {"BF16"}
        assert types["MATRIX_MULTIPLY"]["BF16"] > 40
        assert types["MATRIX_MULTIPLY"]["FLOAT"] == 2
        assert not any(dtypes["HALF"] for dtypes in types.values())

    def test_sine_and_cosine(self, half_graphs: dict[str, Path]) -> None:
        graph = onnx.shape_inference.infer_shapes(onnx.load(half_graphs[DECODER])).graph
        types = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
        producers = {name: node for node in graph.node for name in node.output}
        angles = [node for node in graph.node if node.op_type in ("Sin", "Cos")]
        assert len(angles) == 2
        while angles:
            node = angles.pop()
            assert node.op_type != "Cast"
            assert {types[name] for name in node.output} == {onnx.TensorProto.FLOAT}
            angles.extend(producers[name] for name in node.input if name in producers)

    def test_float16_is_accurate_enough(
        self,
        half_graphs: dict[str, Path],
        small_checkpoint: Path,
        small_config: Path,
    ) -> None:
        """The graphs as ONNX Runtime computes them, against torch."""
        candidate, _ = open_graphs(half_graphs, "onnxruntime", "cpu", RuntimeOptions(threads=1))
        options = RuntimeOptions(config=small_config)
        torch = dict.fromkeys(ROLES, small_checkpoint)
        reference, _ = open_graphs(torch, "torch", "cpu", options)
        record = verify_sessions(reference, candidate, precision="fp16", images=1)
        assert record.passed
        assert 0 < record.embedding_max_error < 0.01

    def test_int8_is_accurate_enough(self, tiny_bundle: Path, tmp_path: Path) -> None:
        images = islice(calibration_inputs("", 256), 8)
        graph = to_int8(onnx.load(tiny_bundle / "encoder.onnx"), images, symmetric=True)
        stored = {t.name: numpy_helper.to_array(t) for t in graph.graph.initializer}
        quantised = [node for node in graph.graph.node if node.op_type == "QuantizeLinear"]
        assert len(quantised) == 32  # one for the input of every linear layer
        assert all(stored[node.input[2]] == 0 for node in quantised)
        assert all(stored[node.input[2]].dtype == np.int8 for node in quantised)
        onnx.save(graph, tmp_path / "encoder.onnx")
        graphs = Bundle.open(tiny_bundle).graphs() | {ENCODER: tmp_path / "encoder.onnx"}
        candidate, _ = open_graphs(graphs, "onnxruntime", "cpu", RuntimeOptions(threads=1))
        reference, _ = open_graphs(
            dict.fromkeys(ROLES, resolve_checkpoint("sam_tiny.pt")),
            "torch",
            "cpu",
            RuntimeOptions(),
        )
        record = verify_sessions(reference, candidate, precision="int8", images=1)
        assert record.passed
        assert record.mask_iou_mean < 0.9999

    def test_int8_of_an_encoder_without_linear_layers_is_refused(self, tmp_path: Path) -> None:
        graph = graph_modules(Sam(CONVOLUTIONS))[ENCODER]
        with pytest.raises(InputError, match=r"int8=True; .* has none left: leave it out"):
            exporter._onnx_file(graph, tmp_path, exporter.TensorRtOptions(int8=True))


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"compute_capability": "7.5"}, "compute_capability=7.5; expected one or more of 8.0,"),
            ({"compute_capability": "8.6;8.9"}, "separated by commas"),
            ({"timing_cache": "cache.bin"}, "TensorRT-RTX times nothing"),
            ({"workspace": 0.0}, "workspace=0.0; expected GiB above 0"),
            ({"max_prompts": 0}, "max_prompts=0; expected a whole number from 1 to 1,024"),
            ({"max_points": -1}, "max_points=-1; expected a whole number from 1 to 1,024"),
            ({"opset": 18}, "format=tensorrt has no use for it"),
            ({"half": True, "bf16": True}, "half=True bf16=True; expected one of them"),
            ({"int8": True, "weights_only": True}, "format=tensorrt has no use for it"),
        ],
    )
    @without_gpu
    def test_refused(self, options: dict[str, Any], message: str, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=message):
            export("sam_tiny.pt", "tensorrt", output=tmp_path / "b", **options)
        assert not list(tmp_path.iterdir())

    def test_what_is_raised_in_a_report_stops_the_build(
        self,
        small_checkpoint: Path,
        small_config: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def interrupt(*given: object, **named: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(exporter, "tqdm", interrupt)
        with pytest.raises(KeyboardInterrupt):
            export(small_checkpoint, "tensorrt", output=tmp_path / "b", config=small_config)
        assert not list(tmp_path.iterdir())

    def test_a_graph_that_the_library_cannot_read(self, rtx: TensorRtRtx, tmp_path: Path) -> None:
        path = tmp_path / "encoder.onnx"
        path.write_bytes(b"not a graph")
        builder = rtx.trt.Builder(logger(rtx.trt))
        with pytest.raises(exporter.ExportError, match=r"TensorRT-RTX cannot read 'encoder\.onnx'"):
            exporter.parse_network(builder, path, rtx)


class TestWhichLibrary:
    def test_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tensorrt_library, "LIBRARIES", ())
        for group in (EXPORTERS, RUNTIMES):
            state = availability(group, "tensorrt")
            assert state.reason == "neither TensorRT nor TensorRT-RTX is installed"
            assert state.install == "pip install 'samdeploy[tensorrt]'"

    def test_rtx_builds_anywhere(self, rtx: TensorRtRtx) -> None:
        assert rtx.why_not_build() == ""
        if not GPU:
            state = availability(EXPORTERS, "trt")
            assert state.version == f"TensorRT-RTX {rtx.version}"
            assert not availability(RUNTIMES, "trt").usable

    @without_gpu
    def test_tensorrt_builds_with_a_gpu_only(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Installed(TensorRt):
            @classmethod
            def _import(cls) -> Any:
                return None

        monkeypatch.setattr(tensorrt_library, "LIBRARIES", (Installed,))
        state = availability(EXPORTERS, "tensorrt")
        assert not state.usable
        assert "builds on the GPU" in state.reason
        assert "no NVIDIA driver is found" in state.reason

    def test_tensorrt_comes_first_where_there_is_a_gpu(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        emulation = Emulation(monkeypatch)
        library = tensorrt_library.building_library()
        assert library.name == "tensorrt"
        target = library.target(exporter.TensorRtOptions())
        assert (target.compute_capabilities, target.device) == (("8.6",), emulation.driver.name)
        with pytest.raises(InputError, match=r"GPU at hand, which is 8\.6"):
            library.target(exporter.TensorRtOptions(compute_capability="8.9"))
        assert library.prompt_profiles(64) == ((1, 1, 1), (1, 64, 64))


class TestEmulated:
    """The runtime's own work: sidecars, buffers, copies. See ``contract/emulated_gpu.py``."""

    @pytest.fixture
    def emulation(self, monkeypatch: pytest.MonkeyPatch) -> Emulation:
        return Emulation(monkeypatch)

    @pytest.fixture(params=["tensorrt", "tensorrt_rtx"])
    def library(self, request: pytest.FixtureRequest) -> str:
        name: str = request.param
        return name

    @pytest.fixture
    def engines(
        self, emulation: Emulation, library: str, small_bundle: Path, tmp_path: Path
    ) -> dict[str, Path]:
        graphs = Bundle.open(small_bundle).graphs()
        return emulation.write_engines(graphs, tmp_path, library=library, most=4)

    def open(self, engines: dict[str, Path], role: str, **options: Any) -> Any:
        opener = load_runtime("tensorrt")()
        return opener.open(engines[role], role, device="cuda", options=RuntimeOptions(**options))

    def test_what_is_read_only_is_uploaded_once(
        self, emulation: Emulation, engines: dict[str, Path]
    ) -> None:
        session = self.open(engines, PREPARE)
        uploads = emulation.driver.calls
        embedding = np.random.default_rng(0).normal(size=(1, 64, 16, 16)).astype(np.float32)
        first = session.run({"image_embeddings": embedding})
        embedding += 1  # the same array, with another content
        second = session.run({"image_embeddings": embedding})
        assert uploads["cuMemcpyHtoDAsync_v2"] == 2
        assert np.abs(first["image_values"] - second["image_values"]).max() > 0.3
        embedding.flags.writeable = False
        for _ in range(3):
            third = session.run({"image_embeddings": embedding})
        assert uploads["cuMemcpyHtoDAsync_v2"] == 3
        np.testing.assert_array_equal(second["image_values"], third["image_values"])
        other = embedding - 2
        other.flags.writeable = False
        fourth = session.run({"image_embeddings": other})
        assert np.abs(fourth["image_values"] - third["image_values"]).max() > 0.6

    def test_an_embedding_stays_on_the_device(
        self, emulation: Emulation, engines: dict[str, Path]
    ) -> None:
        sessions, _ = open_graphs(engines, "tensorrt", "cuda", RuntimeOptions())
        transform = Transform.fit((256, 256), 256)
        features = np.random.default_rng(0).normal(size=(1, 64, 16, 16)).astype(np.float32)
        decoding = Decoding(sessions)
        embedding = Embedding({"image_embeddings": features}, transform)
        prompts = encode_prompts([Prompt(points=[9, 9])] * 6, transform, 64)
        calls = emulation.driver.calls
        decoding(embedding, prompts)
        # Once the embedding and three prepared arrays; coordinates and labels of 4 + 2 prompts.
        assert calls["cuMemcpyHtoDAsync_v2"] == 1 + 3 + 2 * 2
        answer = decoding(embedding, prompts)
        assert calls["cuMemcpyHtoDAsync_v2"] == 1 + 3 + 2 * 2 + 2 * 2
        calls.clear()
        for times in (1, 2):  # once the part of the image's features; four arrays of the prompt
            answer.masks(np.array([0]), (40, 64))
            assert calls["cuMemcpyHtoDAsync_v2"] == 1 + 4 * times

    def test_fixed_shapes_are_captured_by_tensorrt(
        self, emulation: Emulation, engines: dict[str, Path], library: str
    ) -> None:
        session, rng = self.open(engines, ENCODER), np.random.default_rng(0)
        images = [rng.uniform(0, 255, (1, 3, 256, 256)).astype(np.float32) for _ in range(3)]
        found = [session.run({"image": image})["image_embeddings"] for image in images]
        again = session.run({"image": images[0]})["image_embeddings"]
        np.testing.assert_array_equal(again, found[0])
        assert np.abs(found[1] - found[2]).max() > 1e-3
        # The first run is not captured; TensorRT-RTX captures by itself.
        launches = {"tensorrt": 3, "tensorrt_rtx": 0}[library]
        assert emulation.driver.calls["cuGraphLaunch"] == launches
        session.close()
        assert emulation.driver.calls["cuGraphExecDestroy"] == (launches > 0)

    def test_too_many_points(self, engines: dict[str, Path]) -> None:
        session = self.open(engines, SCORER)
        feeds: dict[str, Array] = {
            spec.name: np.zeros(
                [{"prompts": 1, "points": 17}.get(str(side), side) for side in spec.shape],
                np.float32,
            )
            for spec in session.inputs
        }
        with pytest.raises(InputError, match="16 at most, export it again with max_points=17"):
            session.run(feeds)

    def test_a_damaged_engine(self, emulation: Emulation, engines: dict[str, Path]) -> None:
        engines[ENCODER].write_bytes(b"damaged")
        with pytest.raises(BundleError, match=r"cannot open .*\(the magic tag does not match\)"):
            self.open(engines, ENCODER)
        assert emulation.driver.calls["cuStreamDestroy_v2"] == 1

    def test_kernels_are_cached_by_rtx(
        self, engines: dict[str, Path], library: str, tmp_path: Path
    ) -> None:
        cache = tmp_path / "cache"
        if library == "tensorrt":
            with pytest.raises(InputError, match="a TensorRT engine is complete"):
                self.open(engines, PREPARE, cache=cache)
            return
        session = self.open(engines, PREPARE, cache=cache)
        session.run({"image_embeddings": np.zeros((1, 64, 16, 16), np.float32)})
        session.close()
        (file,) = cache.iterdir()
        assert file.name.startswith("prepare-")
        assert file.read_bytes() == b"compiled kernels"
        reopened = self.open(engines, PREPARE, cache=cache)
        reopened.close()
        assert file.read_bytes() == b"compiled kernels"

    def test_options_that_an_engine_has_built_in(self, engines: dict[str, Path]) -> None:
        for options in ({"precision": "fp16"}, {"threads": 2}, {"graph_optimization": "off"}):
            with pytest.raises(InputError, match="runtime 'tensorrt' has no use for it"):
                self.open(engines, ENCODER, **options)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"version": "10.1"}, r"built by TensorRT\S* 10\.1 and 11\.0 is installed; export"),
            (
                {"compute_capabilities": ("9.0",)},
                r"compute capability 9\.0 and Emulated GPU has",
            ),
            ({"platform": "win32-amd64"}, "was built on win32-amd64 and this is"),
            ({"library": "tensorrt_lean"}, "was built by tensorrt_lean and installed are"),
        ],
    )
    def test_a_sidecar_that_does_not_match(
        self, engines: dict[str, Path], change: dict[str, Any], message: str
    ) -> None:
        path = sidecar_path(engines[DECODER])
        sidecar = msgspec.json.decode(path.read_bytes(), type=Sidecar)
        path.write_bytes(msgspec.json.encode(msgspec.structs.replace(sidecar, **change)))
        with pytest.raises(BundleError, match=message) as raised:
            self.open(engines, DECODER)
        assert str(raised.value).count("\n") == 0

    def test_no_sidecar(self, engines: dict[str, Path]) -> None:
        for spoil in (lambda path: path.write_text("{}"), Path.unlink):
            spoil(sidecar_path(engines[DECODER]))
            with pytest.raises(BundleError, match=r"does not say what 'decoder\.engine'"):
                self.open(engines, DECODER)

    def test_a_gpu_that_is_not_there(self, engines: dict[str, Path]) -> None:
        opener = load_runtime("tensorrt")()
        with pytest.raises(RuntimeUnavailableError, match=r"'cuda:1'.*\['cuda', 'cuda:0'\]"):
            opener.open(engines[DECODER], DECODER, device="cuda:1", options=RuntimeOptions())


@pytest.mark.slow
@pytest.mark.overnight
def test_a_bundle_on_the_emulated_gpu(tiny_engines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What RTX built here says what is missing there: its version is not the emulated one."""
    Emulation(monkeypatch, Driver(capability=(9, 0)))
    with pytest.raises(BundleError, match=r"was built by TensorRT-RTX .* and 11\.0 is installed"):
        SAM(tiny_engines)
