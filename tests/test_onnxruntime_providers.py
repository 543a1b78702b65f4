"""Execution providers of ONNX Runtime: compiled in or plugins, present or absent.

No plugin of a real accelerator runs where these tests do; the CPU provider, which ONNX Runtime
offers in the same way as a plugin's, stands in for one.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import EPFail

from samdeploy import SAM
from samdeploy.cuda_driver import Gpu
from samdeploy.errors import InputError, RuntimeUnavailableError
from samdeploy.runtimes import onnxruntime as module
from samdeploy.scenes import Scene
from samdeploy.session import Array, RuntimeOptions, Session

pytestmark = pytest.mark.exporting

Install = Callable[[str], None]


def test_it_reports_nothing_to_its_maker() -> None:
    assert "ORT_DISABLE_TELEMETRY" in os.environ


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a plugin's package with the given source where it is found, as device ``npu``."""

    def call(source: str, provider: str = "NpuExecutionProvider") -> None:
        (tmp_path / "onnxruntime_ep_npu.py").write_text(source)
        monkeypatch.syspath_prepend(str(tmp_path))
        made = module.Provider(
            provider, "onnxruntime-ep-npu", "onnxruntime_ep_npu:library",
            arithmetic={"fp32": {}}, memory="cpu",
        )  # fmt: skip
        monkeypatch.setitem(module.PROVIDERS, "npu", made)

    module._load_plugin.cache_clear()
    yield call
    module._load_plugin.cache_clear()
    sys.modules.pop("onnxruntime_ep_npu", None)


def state() -> Any:
    return module.OnnxRuntime.availability().absent()["npu"]


def test_a_plugin_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = module.Provider("NpuExecutionProvider", "onnxruntime-ep-npu", "no_such_module:library")
    monkeypatch.setitem(module.PROVIDERS, "npu", made)
    assert state().reason == "ONNX Runtime is installed without NpuExecutionProvider"
    assert state().install == "pip install onnxruntime-ep-npu"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def library(): return __file__", r"cannot be loaded \(.*onnxruntime_ep_npu\.py"),
        ("def library(): raise FileNotFoundError('gone')", r"cannot be loaded \(gone\)"),
        ("import no_driver", r"cannot be loaded \(No module named 'no_driver'\)"),
        ("", r"cannot be loaded \(.*library"),
    ],
)
def test_a_plugin_that_does_not_load(install: Install, source: str, reason: str) -> None:
    install(source)
    absent = state()
    assert absent.reason.startswith("the plugin of NpuExecutionProvider cannot be loaded")
    assert re.search(reason, absent.reason), absent.reason
    assert absent.install == ""


def test_a_plugin_is_loaded_only_when_asked_for(install: Install) -> None:
    install("raise AssertionError('loaded')")
    assert "npu" in module.OnnxRuntime.availability().devices
    assert "loaded" in state().reason


def test_a_plugin_without_hardware(
    install: Install, monkeypatch: pytest.MonkeyPatch, small_bundle: Path
) -> None:
    monkeypatch.setattr(module.ort, "register_execution_provider_library", lambda *_: None)
    install("def library(): return 'library.so'")
    reason = "NpuExecutionProvider finds no hardware that it can use"
    assert state().reason == reason
    with pytest.raises(RuntimeUnavailableError, match=f"device 'npu' is not usable .*{reason}"):
        SAM(small_bundle, device="npu")


@pytest.fixture
def npu(install: Install, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """A plugin that works, as device ``npu``; what was registered."""
    registered: list[tuple[str, str]] = []
    monkeypatch.setattr(
        module.ort, "register_execution_provider_library", lambda *what: registered.append(what)
    )
    install("def library(): return 'library.so'", provider="CPUExecutionProvider")
    return registered


def test_a_plugin_that_is_not_listed_as_available(
    npu: object, small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.ort, "get_available_providers", list)  # as ONNX Runtime 1.24 does
    assert "npu" not in module.OnnxRuntime.availability().absent()
    with SAM(small_bundle, device="npu") as sam:
        assert sam.info(verbose=False)["device"] == "npu"


def test_a_plugin_is_registered_once_and_used(
    npu: list[tuple[str, str]], small_bundle: Path, scene: Scene
) -> None:
    with SAM(small_bundle, device="cpu") as sam:
        expected = sam.predict(scene.image, points=[60, 60])
    for device in ("npu", "npu:0", "npu:cpu"):
        with SAM(small_bundle, device=device) as sam:
            assert set(sam.info(verbose=False)["providers"].values()) == {
                "CPUExecutionProvider fp32, 100% of operators, 100% of those that compute"
            }
            found = sam.predict(scene.image, points=[60, 60])
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    assert npu == [("CPUExecutionProvider", "library.so")]
    with pytest.raises(RuntimeUnavailableError, match=r"'npu:1' is not there; .* finds cpu"):
        SAM(small_bundle, device="npu:1")


def nodes(provider: str, *operators: str) -> SimpleNamespace:
    made = [SimpleNamespace(op_type=operator) for operator in operators]
    return SimpleNamespace(ep_name=provider, get_nodes=lambda: made)


class TestShare:
    """How much of a graph a provider takes."""

    def share(self, *parts: SimpleNamespace) -> str:
        session: Any = SimpleNamespace(get_provider_graph_assignment_info=lambda: parts)
        return module._share(session, "Npu", "npu", "encoder")

    def test_what_computes_is_counted_apart(self) -> None:
        moving = ["Shape", "Gather", "Concat", "Reshape"]
        assert self.share(nodes("Npu", "Conv", "MatMul"), nodes("Cpu", *moving)) == (
            "33% of operators, 100% of those that compute"
        )

    def test_almost_all_is_not_all(self) -> None:
        parts = nodes("Npu", *["MatMul"] * 999), nodes("Cpu", "Softmax")
        assert self.share(*parts) == "99% of operators, 99% of those that compute"

    @pytest.mark.parametrize("computing", [0, 1])
    def test_the_processor_does_most_of_the_work(self, computing: int) -> None:
        parts = (
            nodes("Npu", "Shape", "Gather", *["Conv"] * computing),
            nodes("Cpu", *["MatMul"] * 3),
        )
        with pytest.raises(
            RuntimeUnavailableError,
            match=rf"^device 'npu' runs {25 * computing}% of the operators of the encoder graph "
            r"that compute, .* 50% is the least, pass device=cpu or choose another device\.$",
        ):
            self.share(*parts)

    def test_half_is_enough(self) -> None:
        assert self.share(nodes("Npu", "Conv"), nodes("Cpu", "MatMul")).startswith("50%")

    def test_an_old_onnx_runtime_does_not_tell(self) -> None:
        session: Any = SimpleNamespace()
        found = module._share(session, "Npu", "npu", "encoder")
        assert found == "share of operators unknown"


class TestArithmetic:
    """Float32 wherever there is float32; what was asked for, or an error."""

    @pytest.mark.parametrize("device", tuple(module.PROVIDERS))
    def test_float32_is_the_default_where_there_is_one(self, device: str) -> None:
        provider = module.PROVIDERS[device]
        if "fp32" in provider.arithmetic:
            chosen, settings = module._arithmetic(provider, device, None)
            assert (chosen, settings) == ("fp32", provider.arithmetic["fp32"])
        for wanted in ("fp32", "tf32", "bf16", "fp16"):
            if wanted in provider.arithmetic:
                assert module._arithmetic(provider, device, wanted)[0] == wanted
            else:
                with pytest.raises(InputError, match=f"precision={wanted}; device '{device}'"):
                    module._arithmetic(provider, device, wanted)

    def test_what_is_asked_of_providers(self) -> None:
        asked = {device: p.arithmetic.get("fp32") for device, p in module.PROVIDERS.items()}
        assert asked["cuda"] == {"use_tf32": "0"}
        assert asked["tensorrt"] is asked["rtx"] is asked["qnn"] is asked["mlx"] is None
        config = json.loads(str((asked["openvino"] or {})["load_config"]))
        assert {kind["INFERENCE_PRECISION_HINT"] for kind in config.values()} == {"f32"}
        assert set(config) == {"CPU", "GPU", "NPU"}

    @pytest.mark.parametrize(
        ("precision", "tf32", "named"),
        [(None, "0", "fp32"), ("fp32", "0", "fp32"), ("tf32", "1", "tf32")],
    )
    def test_cuda(
        self, cuda: list[Any], small_bundle: Path, precision: str | None, tf32: str, named: str
    ) -> None:
        options = RuntimeOptions(precision=precision)
        opened = module.OnnxRuntime().open(
            small_bundle / "encoder.onnx", "encoder", device="cuda:1", options=options
        )
        assert opened.provider.startswith(f"CUDAExecutionProvider {named}, ")
        (given,) = cuda
        assert given["providers"] == [
            ("CUDAExecutionProvider", {"use_tf32": tf32, "device_id": "1"})
        ]
        assert given["enable_fallback"] == 0

    def test_a_plugin(self, npu: object, monkeypatch: pytest.MonkeyPatch) -> None:
        given: list[Any] = []
        options: Any = SimpleNamespace(add_provider_for_devices=lambda *what: given.append(what))
        provider = module.PROVIDERS["npu"]
        assert module._choose(options, provider, "npu", "", {"load_config": "{}"}) == []
        assert [settings for _, settings in given] == [{"load_config": "{}"}]

    def test_the_processor_computes_in_float32(self, small_bundle: Path) -> None:
        def opened(precision: str) -> Session:
            return module.OnnxRuntime().open(
                small_bundle / "encoder.onnx", "encoder", device="cpu",
                options=RuntimeOptions(precision=precision),
            )  # fmt: skip

        assert opened("fp32").provider == "CPUExecutionProvider"
        with pytest.raises(InputError, match=r"precision=bf16; device 'cpu' of .* in fp32: pass"):
            opened("bf16")


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A build with the CUDA provider and two GPUs; what sessions were opened with."""
    given: list[Any] = []
    real = module.ort.InferenceSession

    class Session(real):  # type: ignore[misc]
        def __init__(self, path: Path, options: object, **named: object) -> None:
            given.append(named)
            super().__init__(path, options, providers=["CPUExecutionProvider"])

        def get_providers(self) -> list[str]:
            return ["CUDAExecutionProvider", "CPUExecutionProvider"]

        def get_provider_graph_assignment_info(self) -> list[SimpleNamespace]:
            return [nodes("CUDAExecutionProvider", "Conv")]

    monkeypatch.setattr(module.ort, "InferenceSession", Session)
    available = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(module.ort, "get_available_providers", lambda: available)
    gpus = tuple(Gpu(index, "Some GPU", "9.0") for index in range(2))
    monkeypatch.setattr(module, "find_gpus", lambda: (gpus, ""))
    return given


@pytest.mark.parametrize("number", ["7", "x", "-1"])
def test_a_gpu_that_is_not_there(cuda: list[Any], small_bundle: Path, number: str) -> None:
    with pytest.raises(
        RuntimeUnavailableError,
        match=rf"^device 'cuda:{number}' is not usable .* finds 0 \(Some GPU\), 1 \(Some GPU\); ",
    ):
        SAM(small_bundle, device=f"cuda:{number}")
    assert not cuda


class TestCudaLibraries:
    """They come as packages, and somebody has to load them."""

    @pytest.fixture(autouse=True)
    def loaded(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
        calls: list[str] = []

        def preload() -> None:
            calls.append("loaded")
            print("Failed to load libcudnn.so.9:\n no such file")

        monkeypatch.setattr(module.ort, "preload_dlls", preload)
        module._load_cuda.cache_clear()
        yield calls
        module._load_cuda.cache_clear()

    @pytest.mark.parametrize("version", ["", None, "12.8"])
    def test_unless_torch_has_loaded_them(
        self,
        cuda: list[Any],
        loaded: list[str],
        small_bundle: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        version: str | None,
    ) -> None:
        """``version`` is that of torch's CUDA, empty when torch is not imported."""
        if version == "":
            monkeypatch.delitem(sys.modules, "torch", raising=False)
        else:
            torch = SimpleNamespace(version=SimpleNamespace(cuda=version))
            monkeypatch.setitem(sys.modules, "torch", torch)
        with SAM(small_bundle, device="cuda"):
            pass
        assert loaded == ([] if version else ["loaded"])
        assert capsys.readouterr().out == ""

    def test_not_for_the_processor(self, loaded: list[str], small_bundle: Path) -> None:
        with SAM(small_bundle, device="cpu"):
            assert not loaded

    def test_those_that_are_missing_are_named(
        self, cuda: list[Any], small_bundle: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delitem(sys.modules, "torch", raising=False)
        elsewhere = ["CPUExecutionProvider"]
        monkeypatch.setattr(module.ort.InferenceSession, "get_providers", lambda self: elsewhere)
        with pytest.raises(
            RuntimeUnavailableError,
            match=r"fell back to CPUExecutionProvider; .* \(Failed to load libcudnn.so.9: no such",
        ):
            SAM(small_bundle, device="cuda")


class TestResidentInputs:
    """What the image gives stays on the device; here that is the host's memory, by OrtValue."""

    @pytest.fixture
    def moved(self, npu: object, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
        shapes: list[tuple[int, ...]] = []
        original = module.ort.OrtValue.ortvalue_from_numpy

        def move(array: Array, memory: str, index: int) -> Any:
            assert (memory, index) == ("cpu", 0)
            shapes.append(array.shape)
            return original(array, memory, index)

        monkeypatch.setattr(module.ort.OrtValue, "ortvalue_from_numpy", move)
        return shapes

    def test_once_an_image(
        self, moved: list[tuple[int, ...]], small_bundle: Path, scene: Scene
    ) -> None:
        with SAM(small_bundle, device="npu") as sam:
            moved.clear()
            sam.set_image(scene.image)
            first = [sam.predict(points=[x, 60]).scores for x in (20, 60, 90)]
            # The embedding for prepare, three arrays for the scorer, one for the mask head.
            assert len(moved) == 1 + 3 + 1
            sam.set_image(scene.image[::-1])
            assert np.abs(sam.predict(points=[20, 60]).scores - first[0]).max() > 0
            assert len(moved) == 2 * (1 + 3 + 1)
        with SAM(small_bundle, device="cpu") as sam:
            sam.set_image(scene.image)
            again = [sam.predict(points=[x, 60]).scores for x in (20, 60, 90)]
        np.testing.assert_array_equal(first, again)

    def test_a_build_without_that_memory_copies(self) -> None:
        assert module.PROVIDERS["cuda"].memory == "cuda"
        assert module._memory(module.PROVIDERS["cuda"], 0) is None


def test_a_provider_that_fails_is_not_replaced(
    npu: object, small_bundle: Path, scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    """ONNX Runtime would open the graph again on the CPU, and compute there from then on."""

    class Broken:
        def run(self, *_: object) -> None:
            raise EPFail("the device was lost")

    with SAM(small_bundle, device="npu") as sam:
        session: Any = sam._opened.sessions["encoder"]
        inner = session._session._session
        inner._validate_graph_capture_run_api = lambda *_: None
        inner._validate_ortvalue_ownership = lambda *_: None
        inner._sess = Broken()
        for _ in range(2):
            with pytest.raises(
                RuntimeUnavailableError,
                match=r"^CPUExecutionProvider fp32, .*the device was lost; c",
            ):
                sam.encode(scene.image)
    assert "Falling back" not in capsys.readouterr().out


def test_a_provider_that_fails_while_it_runs(small_bundle: Path, scene: Scene) -> None:
    class Broken:
        def run(self, *_: object) -> None:
            raise RuntimeError("[ONNXRuntimeError] : out of memory\nand more")

    with SAM(small_bundle) as sam:
        session: Any = sam._opened.sessions["encoder"]
        session._session._session = Broken()
        with pytest.raises(
            RuntimeUnavailableError, match=r"failed while it ran .*out of memory; c"
        ):
            sam.encode(scene.image)
