"""The machine: this one, and one with a GPU that a script pretends to."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from samdeploy import cuda_driver, tuning
from samdeploy.benchmarks import environment, measure
from samdeploy.benchmarks.devices import check_device, detect_devices, hosts_of, runtime_states
from samdeploy.benchmarks.environment import gpu_memory_used, read_environment
from samdeploy.benchmarks.measure import peak_memory, timed
from samdeploy.benchmarks.records import Gpu
from samdeploy.devices import DEVICES, base_name
from samdeploy.errors import InputError
from samdeploy.runtimes import coreml
from samdeploy.runtimes.onnx_providers import PROVIDERS
from samdeploy.session import Availability

SMI = """#!{python}
import sys
values = {{"name": "Some GPU", "driver_version": "550.1", "memory.total": "81559",
           "memory.used": "1024"}}
for _ in range(2):
    print(", ".join(values[field] for field in sys.argv[1].partition("=")[2].split(",")))
"""


@pytest.fixture
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(SMI.format(python=sys.executable))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)


def test_this_machine() -> None:
    found = read_environment()
    assert found.logical_cpus == os.cpu_count()
    assert found.memory_bytes > 1e8
    assert found.versions["samdeploy"]
    assert found.versions["python"] == ".".join(map(str, sys.version_info[:3]))
    if Path("/proc/cpuinfo").exists():
        assert found.cpu_flags


def test_every_library_that_runs_models_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "version", lambda name: "1.0")
    told = read_environment().versions
    assert {"onnxruntime", "openvino", "MNN", "executorch", "ai-edge-litert", "sam2"} <= set(told)


def test_gpus(two_gpus: None) -> None:
    assert read_environment().gpus == (Gpu("Some GPU", "550.1", 81559 << 20),) * 2
    assert gpu_memory_used() == 2048 << 20


def test_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_environment().gpus == ()
    assert gpu_memory_used() is None


def test_devices_are_offered_or_explained() -> None:
    states = {
        "onnxruntime": Availability(devices=("cpu", "cuda")),
        "torch": Availability(reason="torch is missing"),
    }
    found = {device.name: device for device in detect_devices(states)}
    assert list(found) == list(DEVICES)
    assert found["cuda"].runtimes == ("onnxruntime",)
    assert found["cuda"].reason == ""
    assert found["mps"].runtimes == ()
    assert "torch is missing" in found["mps"].reason
    assert found["npu"].reason == "no runtime for it is installed"
    assert "offers cpu, cuda here" in found["webgpu"].reason


def test_every_device_of_this_machine_is_known() -> None:
    for runtime, state in runtime_states().items():
        # Nobody measures those, and the kernels only as a part of another's bundle.
        if runtime not in ("fake", "native") and not state.simulated:
            for device in {base_name(device) for device in state.devices} - {"auto"}:
                assert runtime in hosts_of(device)


def test_every_device_of_the_runtimes_is_known() -> None:
    """Also those that are not here."""

    def of(runtime: str) -> set[str]:
        return {device for device in DEVICES if runtime in hosts_of(device)}

    assert of("onnxruntime") == set(PROVIDERS)
    assert of("torch") == {"cpu", "cuda", "mps"}
    assert of("coreml") == set(coreml.COMPUTE_UNITS)
    assert check_device("rtx") and check_device("migraphx:1")


def test_names_of_devices() -> None:
    assert [check_device(name) for name in ("cpu", "cuda:1", "gpu.0")]
    with pytest.raises(InputError, match="device 'tpu'; expected one or more of cpu, cuda"):
        check_device("tpu")


def test_timed_leaves_the_warm_up_out() -> None:
    calls: list[int] = []
    seconds = timed(lambda: calls.append(1), warmup=2, rounds=3)
    assert len(calls) == 5
    assert len(seconds) == 3
    assert all(second >= 0 for second in seconds)


def test_peak_memory_never_falls() -> None:
    before = peak_memory()
    block = bytearray(64 << 20)
    block[:: 1 << 12] = b"1" * len(block[:: 1 << 12])
    grown = peak_memory()
    del block
    # The system counts pages in batches, so a reading may be a little behind.
    slack = 4 << 20
    assert grown > max(before - slack, 64 << 20)
    assert peak_memory() > grown - slack


def test_peak_memory_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither ``/proc`` nor the module ``resource``; the system's own function."""

    class Kernel:
        def __init__(self, name: str, use_last_error: bool) -> None:
            assert name == "kernel32"
            self.GetCurrentProcess = Function(lambda: 7)
            self.K32GetProcessMemoryInfo = Function(self.tell)

        @staticmethod
        def tell(process: int, found: Any, size: int) -> int:
            assert (process, size) == (7, 8 + 8 * 8)
            found._obj.PeakWorkingSetSize = 123 << 20
            return 1

    class Function:
        def __init__(self, call: Any) -> None:
            self.call = call

        def __call__(self, *given: Any) -> Any:
            return self.call(*given)

    monkeypatch.setattr(Path, "exists", lambda path: False)
    monkeypatch.setattr(measure.sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setattr(measure.ctypes, "WinDLL", Kernel, raising=False)
    assert peak_memory() == 123 << 20


def test_the_machine_has_its_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = tuple(cuda_driver.Gpu(index, "Some GPU", "9.0") for index in range(2))
    without = tuning.machine()
    monkeypatch.setattr(tuning, "find_gpus", lambda: (gpus, ""))
    assert tuning.machine().endswith(f" {os.cpu_count()} cores, Some GPU, Some GPU")
    assert tuning.machine() != without

    def no_driver() -> Any:
        return SimpleNamespace()  # one that has none of the functions

    monkeypatch.setattr(tuning, "find_gpus", cuda_driver.find_gpus)
    monkeypatch.setattr(cuda_driver, "load_driver", no_driver)
    assert tuning.machine().endswith(" cores")
    assert "too old: it has no cuDeviceGetCount" in cuda_driver.find_gpus()[1]
