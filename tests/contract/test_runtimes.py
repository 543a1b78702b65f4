"""The contract, one subclass per runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samdeploy.bundle import Bundle
from samdeploy.errors import BundleError, InputError, RuntimeUnavailableError
from samdeploy.graphs import (
    ALL_ROLES,
    DECODER,
    ENCODER,
    KERNEL_ROLES,
    KERNELS_FILE,
    ROLES,
)
from samdeploy.prompts import Prompt
from samdeploy.registry import load_runtime
from samdeploy.session import Array, RuntimeOptions, Session
from samdeploy.testing import RuntimeContract
from samdeploy.testing.runtime_contract import Model
from tests.contract.emulated_gpu import Emulation

pytestmark = pytest.mark.exporting


class TestFake(RuntimeContract):
    runtime = "fake"
    split = False

    @classmethod
    def find_graphs(cls, fixture: Callable[[str], Any]) -> dict[str, Path]:
        return dict.fromkeys(ROLES, Path("nothing"))


class TestTorch(RuntimeContract):
    runtime = "torch"

    @classmethod
    def find_graphs(cls, fixture: Callable[[str], Any]) -> dict[str, Path]:
        return dict.fromkeys(ALL_ROLES, fixture("small_checkpoint"))

    @classmethod
    def find_options(cls, fixture: Callable[[str], Any]) -> RuntimeOptions:
        return RuntimeOptions(threads=1, config=fixture("small_config"))

    @pytest.mark.parametrize("threads", [1, 2])
    def test_a_forked_process_runs_with_one_thread_only(
        self, model: Model, embedding: Array, threads: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # The threads of libgomp are gone in the child, and a call that wants them never returns.
        import samdeploy.runtimes.torch as module

        feeds = self.feeds(embedding, [Prompt(points=[20, 30])])
        expected = model[DECODER].run(feeds)["low_res_masks"]
        monkeypatch.setattr(module.os, "getpid", lambda: -1)
        monkeypatch.setattr(module.torch, "get_num_threads", lambda: threads)
        if threads == 1:
            np.testing.assert_array_equal(model[DECODER].run(feeds)["low_res_masks"], expected)
        else:
            with pytest.raises(InputError, match=r"forked from one .* threads=1"):
                model[DECODER].run(feeds)


class TestOnnxRuntime(RuntimeContract):
    runtime = "onnxruntime"

    @classmethod
    def find_graphs(cls, fixture: Callable[[str], Any]) -> dict[str, Path]:
        return Bundle.open(fixture("small_bundle")).graphs()

    def test_it_matches_torch(
        self, model: Model, embedding: Array, small_checkpoint: Path, small_config: Path
    ) -> None:
        torch = load_runtime("torch")()
        reference = torch.open(
            small_checkpoint, DECODER, device="cpu", options=RuntimeOptions(config=small_config)
        )
        feeds = self.feeds(embedding, self.prompts(embedding))
        expected, found = reference.run(feeds), model[DECODER].run(feeds)
        for name, values in expected.items():
            assert np.abs(values - found[name]).max() <= 1e-5 * np.abs(values).max()

    def test_provider_is_the_one_asked_for(self, model: Model) -> None:
        assert model[ENCODER].provider == "CPUExecutionProvider"

    @pytest.mark.parametrize("level", ["all", "extended", "basic", "off"])
    @pytest.mark.parametrize("arena", [True, False])
    def test_options_do_not_change_the_answer(
        self, graphs: dict[str, Path], model: Model, embedding: Array, level: str, arena: bool
    ) -> None:
        options = RuntimeOptions(threads=2, memory_arena=arena, graph_optimization=level)
        session = load_runtime(self.runtime)().open(
            graphs[DECODER], DECODER, device="cpu", options=options
        )
        feeds = self.feeds(embedding, self.prompts(embedding)[:1])
        expected = model[DECODER].run(feeds)["low_res_masks"]
        found = session.run(feeds)["low_res_masks"]
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()

    def test_unknown_options_are_refused(self, graphs: dict[str, Path]) -> None:
        opener = load_runtime(self.runtime)()
        with pytest.raises(InputError, match="graph_optimization='most'"):
            opener.open(
                graphs[ENCODER],
                ENCODER,
                device="cpu",
                options=RuntimeOptions(graph_optimization="most"),
            )
        with pytest.raises(InputError, match="quantum"):
            opener.open(graphs[ENCODER], ENCODER, device="quantum", options=RuntimeOptions())

    def test_a_file_that_is_no_graph(self, tmp_path: Path) -> None:
        path = tmp_path / "encoder.onnx"
        path.write_bytes(b"not a graph")
        with pytest.raises(BundleError, match=r"encoder\.onnx"):
            load_runtime(self.runtime)().open(path, ENCODER, device="cpu", options=RuntimeOptions())

    def test_a_silent_fallback_is_an_error(
        self, graphs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # A build that claims CUDA but cannot start it opens the session on the CPU instead.
        import samdeploy.runtimes.onnxruntime as module

        class Session(module.ort.InferenceSession):  # type: ignore[misc]
            def __init__(self, path: Path, options: object, **_: object) -> None:
                super().__init__(path, options, providers=["CPUExecutionProvider"])

        monkeypatch.setattr(
            module.ort,
            "get_available_providers",
            lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"],
        )
        monkeypatch.setattr(module.ort, "InferenceSession", Session)
        with pytest.raises(RuntimeUnavailableError, match="fell back to CPUExecutionProvider"):
            module.OnnxRuntime().open(
                graphs[ENCODER], ENCODER, device="cuda", options=RuntimeOptions()
            )


class WithKernels:
    """Our own kernels in the place of two graphs, and ONNX Runtime for the others."""

    def __init__(self) -> None:
        self._kernels, self._others = load_runtime("native")(), load_runtime("onnxruntime")()

    def open(self, graph: Path, role: str, *, device: str, options: Any) -> Session:
        if role not in KERNEL_ROLES:
            return self._others.open(graph, role, device=device, options=options)
        weights = graph.with_name(KERNELS_FILE)
        return self._kernels.open(weights, role, device=device, options=options)


class TestKernels(RuntimeContract):
    runtime = "onnxruntime"

    @classmethod
    def opener(cls) -> Any:
        return WithKernels()

    @classmethod
    def find_graphs(cls, fixture: Callable[[str], Any]) -> dict[str, Path]:
        checkpoint, config = fixture("small_checkpoint"), fixture("small_config")
        make = fixture("export_once")
        return Bundle.open(make("small_kernels", checkpoint, config=config, kernels=True)).graphs()

    def test_two_graphs_are_theirs(self, model: Model) -> None:
        ours = [role for role, session in model.items() if session.provider.startswith("kernels")]
        assert sorted(ours) == sorted(KERNEL_ROLES)


class TestOpenVino(RuntimeContract):
    runtime = "openvino"

    @classmethod
    def find_graphs(cls, fixture: Callable[[str], Any]) -> dict[str, Path]:
        return Bundle.open(fixture("small_openvino_bundle")).graphs()

    @classmethod
    def find_options(cls, fixture: Callable[[str], Any]) -> RuntimeOptions:
        return RuntimeOptions(threads=1)

    def test_provider_tells_the_precision(self, model: Model) -> None:
        assert model[ENCODER].provider == "OpenVINO CPU fp32"

    def test_it_opens_onnx_as_well(
        self, small_bundle: Path, model: Model, embedding: Array
    ) -> None:
        session = load_runtime(self.runtime)().open(
            small_bundle / "decoder.onnx",
            DECODER,
            device="cpu",
            options=RuntimeOptions(precision="fp32"),
        )
        feeds = self.feeds(embedding, self.prompts(embedding))
        expected = model[DECODER].run(feeds)["low_res_masks"]
        found = session.run(feeds)["low_res_masks"]
        assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()

    def test_a_model_cache_is_filled(self, graphs: dict[str, Path], tmp_path: Path) -> None:
        options = RuntimeOptions(cache=tmp_path)
        load_runtime(self.runtime)().open(graphs[DECODER], DECODER, device="cpu", options=options)
        assert list(tmp_path.iterdir())

    def test_unknown_options_are_refused(self, graphs: dict[str, Path]) -> None:
        with pytest.raises(InputError, match="graph_optimization=basic"):
            load_runtime(self.runtime)().open(
                graphs[ENCODER],
                ENCODER,
                device="cpu",
                options=RuntimeOptions(graph_optimization="basic"),
            )


class TestMnn(RuntimeContract):
    runtime = "mnn"

    @classmethod
    def find_graphs(cls, fixture: Callable[[str], Any]) -> dict[str, Path]:
        pytest.importorskip("samdeploy.runtimes.mnn")
        return Bundle.open(fixture("small_mnn_bundle")).graphs()

    def test_availability_names_devices(self) -> None:
        pytest.importorskip("samdeploy.runtimes.mnn")
        super().test_availability_names_devices()


@pytest.mark.slow
class TestMil(RuntimeContract):
    """Core ML packages through the evaluator, on every system."""

    runtime = "mil"

    @classmethod
    def find_graphs(cls, fixture: Callable[[str], Any]) -> dict[str, Path]:
        return Bundle.open(fixture("small_coreml_bundle")).graphs()

    @classmethod
    def find_options(cls, fixture: Callable[[str], Any]) -> RuntimeOptions:
        return RuntimeOptions()


class TestTensorRtEmulated(RuntimeContract):
    """Our side of both TensorRT runtimes, on a GPU that is emulated: buffers, shapes, profiles.
    Calls of more than four prompts are divided."""

    runtime = "tensorrt"
    device = "cuda"
    library = "tensorrt"

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def emulation(cls) -> Iterator[Emulation]:
        with pytest.MonkeyPatch.context() as patch:
            yield Emulation(patch)

    @classmethod
    def find_graphs(cls, fixture: Callable[[str], Any]) -> dict[str, Path]:
        graphs = Bundle.open(fixture("small_bundle")).graphs()
        folder = fixture("tmp_path_factory").mktemp(cls.library)
        emulation: Emulation = fixture("emulation")
        return emulation.write_engines(graphs, folder, library=cls.library, most=4)

    @classmethod
    def find_options(cls, fixture: Callable[[str], Any]) -> RuntimeOptions:
        return RuntimeOptions()


class TestTensorRtRtxEmulated(TestTensorRtEmulated):
    library = "tensorrt_rtx"
