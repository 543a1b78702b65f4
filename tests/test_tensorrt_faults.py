"""What may go wrong on a GPU: threads, sessions that nobody closes, refusals, a full disk.

On the emulated GPU, which counts what was taken and not given back, and knows which context is
current in which thread. See ``contract/emulated_gpu.py``.
"""

from __future__ import annotations

import errno
import gc
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samdeploy.bundle import Bundle
from samdeploy.errors import BundleError, InputError, RuntimeUnavailableError
from samdeploy.exporters import tensorrt as exporter
from samdeploy.graphs import ALL_ROLES, DECODER, ENCODER, MASK_HEAD, PREPARE, SCORER
from samdeploy.opening import open_graphs
from samdeploy.registry import load_runtime
from samdeploy.runtimes.tensorrt_library import building_library
from samdeploy.session import Array, RuntimeOptions, Session
from tests.contract.emulated_gpu import CONTEXT, Emulation, Engine, RuntimeCache

pytestmark = pytest.mark.exporting

Open = Callable[..., Session]


@pytest.fixture
def emulation(monkeypatch: pytest.MonkeyPatch) -> Emulation:
    return Emulation(monkeypatch)


BOTH = pytest.mark.parametrize("library", ["tensorrt", "tensorrt_rtx"])
RTX = pytest.mark.parametrize("library", ["tensorrt_rtx"])


@pytest.fixture
def library() -> str:
    return "tensorrt"


@pytest.fixture(scope="module")
def engines_by_library(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    graphs, folder = Bundle.open(small_bundle).graphs(), tmp_path_factory.mktemp("engines")
    with pytest.MonkeyPatch.context() as patch:
        for library in ("tensorrt", "tensorrt_rtx"):
            (folder / library).mkdir()
            Emulation(patch).write_engines(graphs, folder / library, library=library, most=4)
    return folder


@pytest.fixture
def engines(
    emulation: Emulation, library: str, engines_by_library: Path, tmp_path: Path
) -> dict[str, Path]:
    folder = shutil.copytree(engines_by_library / library, tmp_path / library)
    return {role: folder / f"{role}.engine" for role in ALL_ROLES}


@pytest.fixture
def opened(engines: dict[str, Path]) -> Open:
    def call(role: str, **options: Any) -> Session:
        opener = load_runtime("tensorrt")()
        return opener.open(engines[role], role, device="cuda", options=RuntimeOptions(**options))

    return call


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of methods that say no."""
    names: set[str] = set()
    monkeypatch.setattr(Engine, "refuse", names)
    return names


def feeds_of(
    session: Session, prompts: int = 1, points: int = 2, seed: int = 0
) -> dict[str, Array]:
    sizes = {"prompts": prompts, "points": points}
    rng = np.random.default_rng(seed)
    return {
        spec.name: rng.normal(size=[int(sizes.get(str(side), side)) for side in spec.shape]).astype(
            np.float32
        )
        for spec in session.inputs
    }


def test_threads_take_turns(opened: Open, emulation: Emulation) -> None:
    session = opened(DECODER)
    calls = [feeds_of(session, prompts=1 + seed % 3, seed=seed) for seed in range(12)]
    expected = [session.run(feeds) for feeds in calls]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(session.run, calls * 3))
    for index, answer in enumerate(found):
        for name, values in answer.items():
            np.testing.assert_array_equal(values, expected[index % 12][name])
    with ThreadPoolExecutor(1) as another:
        another.submit(session.close).result()
    assert not emulation.driver.held


def test_the_context_of_others_stays_current(opened: Open, emulation: Emulation) -> None:
    emulation.driver.current.append(1)  # another library's, in this thread
    session = opened(DECODER)
    session.run(feeds_of(session))
    with pytest.raises(InputError, match="16 at most"):
        session.run(feeds_of(session, points=17))
    session.close()
    assert emulation.driver.current.pop() == 1
    assert CONTEXT not in emulation.driver.current


@BOTH
@pytest.mark.parametrize("end", ["closed", "dropped"])
def test_everything_is_given_back(engines: dict[str, Path], emulation: Emulation, end: str) -> None:
    sessions, _ = open_graphs(engines, "tensorrt", "cuda", RuntimeOptions())
    for role in (ENCODER, DECODER, PREPARE):
        for _ in range(2):  # the second inference is recorded
            sessions[role].run(feeds_of(sessions[role]))
    held = emulation.driver.held
    assert (held["buffers"], held["streams"], held["contexts"]) == (2 + 7 + 5, 5, 5)
    if end == "closed":
        for _ in range(2):
            for session in sessions.values():
                session.close()
        with pytest.raises(InputError, match="closed"):
            sessions[PREPARE].run(feeds_of(sessions[PREPARE]))
    else:
        gc.disable()  # nothing waits for the garbage collector
        try:
            del sessions
        finally:
            gc.enable()
        assert not emulation.driver.held
    assert not emulation.driver.held


def test_a_graph_that_cannot_be_opened_closes_those_before(
    engines: dict[str, Path], emulation: Emulation
) -> None:
    engines[MASK_HEAD].write_bytes(b"damaged")
    with pytest.raises(BundleError, match="cannot open"):
        open_graphs(engines, "tensorrt", "cuda", RuntimeOptions())
    assert emulation.driver.calls["cuStreamCreate"] == 5
    assert not emulation.driver.held


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("create_execution_context", "refused an execution context"),
        ("set_input_shape", r"refused '\w+' of shape \[1, "),
        ("set_tensor_address", "refused the address of 'image_embeddings'"),
        ("execute_async_v3", "refused to start the inference"),
    ],
)
def test_a_refusal_is_an_error(
    opened: Open, emulation: Emulation, refuse: set[str], method: str, message: str
) -> None:
    refuse.add(method)
    with pytest.raises(RuntimeUnavailableError, match=message):
        session = opened(DECODER)
        session.run(feeds_of(session))
    refuse.clear()
    if method != "create_execution_context":
        assert session.run(feeds_of(session))["low_res_masks"].shape[0] == 1
        session.close()
    assert not emulation.driver.held


def test_a_profile_that_is_refused(opened: Open, emulation: Emulation, refuse: set[str]) -> None:
    refuse.add("set_optimization_profile_async")
    with pytest.raises(RuntimeUnavailableError, match="refused optimisation profile 1"):
        opened(DECODER)
    assert not emulation.driver.held


@pytest.mark.parametrize("function", ["cuStreamCreate", "cuDevicePrimaryCtxRetain"])
def test_a_device_that_does_not_start(opened: Open, emulation: Emulation, function: str) -> None:
    emulation.driver.fail[function] = 2
    with pytest.raises(RuntimeUnavailableError, match=rf"{function} .*\(out of memory\)"):
        opened(DECODER)
    assert not emulation.driver.held


@pytest.mark.parametrize(
    "function", ["cuMemAlloc_v2", "cuMemcpyHtoDAsync_v2", "cuStreamSynchronize"]
)
def test_a_call_that_fails_does_not_spoil_the_next(
    opened: Open, emulation: Emulation, function: str
) -> None:
    session, another = opened(DECODER), opened(DECODER)
    emulation.driver.fail[function] = 2
    feeds = feeds_of(session)
    with pytest.raises(RuntimeUnavailableError, match=rf"{function} .*\(out of memory\)"):
        session.run(feeds)
    emulation.driver.fail.clear()
    found = session.run(feeds)["low_res_masks"]
    np.testing.assert_array_equal(found, another.run(feeds)["low_res_masks"])
    session.close()
    another.close()
    assert not emulation.driver.held


def test_what_cannot_be_freed_does_not_keep_the_rest(opened: Open, emulation: Emulation) -> None:
    session = opened(DECODER)
    session.run(feeds_of(session))
    emulation.driver.fail["cuMemFree_v2"] = 700
    with pytest.raises(RuntimeUnavailableError, match="cuMemFree_v2 with error 700"):
        session.close()
    assert set(emulation.driver.held) == {"buffers"}
    session.close()


def test_buffers_are_as_large_as_needed(opened: Open, emulation: Emulation) -> None:
    session, driver = opened(SCORER), emulation.driver

    def used() -> int:
        return sum(len(block) for block in driver.memory.values())

    assert used() == 0
    feeds = feeds_of(session)
    first = session.run(feeds)
    assert used() == sum(a.nbytes for a in (*feeds.values(), *first.values()))
    many = feeds_of(session, prompts=4, points=16)
    session.run(many)
    most = used()
    again = session.run(feeds)
    assert used() == most
    for name, values in first.items():
        np.testing.assert_array_equal(again[name], values)


def test_a_context_reserves_for_its_own_profile(opened: Open, emulation: Emulation) -> None:
    session: Any = opened(SCORER)
    engine = session._profiles[0]._plan.engine
    sizes = [engine.memory_of(index) for index in range(2)]
    assert sizes[0] < sizes[1]
    assert emulation.driver.reserved == sum(sizes)


@pytest.mark.parametrize(
    "function", ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags"]
)
def test_what_cannot_be_recorded_is_run_plainly(
    opened: Open, emulation: Emulation, function: str
) -> None:
    session, plain = opened(ENCODER), opened(ENCODER)
    emulation.driver.fail[function] = 900
    calls = [feeds_of(session, seed=seed) for seed in range(3)]
    for feeds in calls:
        found = session.run(feeds)["image_embeddings"]
        expected = plain.run(feeds)["image_embeddings"]
        np.testing.assert_array_equal(found, expected)
    assert emulation.driver.calls[function] == 2  # once a session, not with every call
    assert emulation.driver.calls["cuGraphLaunch"] == 0
    emulation.driver.fail.clear()
    session.close()
    plain.close()
    assert not emulation.driver.held


@RTX
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), TypeError("gave nothing")]
)
def test_kernels_that_cannot_be_kept(
    opened: Open,
    emulation: Emulation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    session = opened(DECODER, cache=tmp_path / "kernels")
    session.run(feeds_of(session))
    monkeypatch.setattr(RuntimeCache, "fail", error)
    with pytest.warns(RuntimeWarning, match=rf"not kept in .*decoder-.*\(.*{error.args[-1]}\)"):
        session.close()
    assert not emulation.driver.held
    assert not list((tmp_path / "kernels").iterdir())


@RTX
def test_a_cache_that_cannot_be_read(opened: Open, emulation: Emulation, tmp_path: Path) -> None:
    session = opened(DECODER, cache=tmp_path / "kernels")
    session.run(feeds_of(session))
    session.close()
    (file,) = (tmp_path / "kernels").iterdir()
    original = Path.read_bytes

    def read(path: Path) -> bytes:
        if path == file:
            raise PermissionError(errno.EACCES, "Permission denied")
        return original(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "read_bytes", read)
        with pytest.raises(InputError, match=r"cannot be read \(Permission denied\); give another"):
            opened(DECODER, cache=tmp_path / "kernels")
    assert not emulation.driver.held


class TestWhichLibrary:
    """Both are installed here, and there is a GPU."""

    @pytest.mark.parametrize("short", ["tensorrt", "rtx"])
    def test_the_wanted_one_builds(self, emulation: Emulation, short: str) -> None:
        assert building_library(short).short == short
        assert building_library().short == "tensorrt"

    def test_one_that_is_not_there(
        self, emulation: Emulation, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(InputError, match="library=lean; expected one of tensorrt, rtx"):
            building_library("lean")

        def missing(self: object) -> Any:
            raise ImportError("No module named 'tensorrt'")

        import samdeploy.runtimes.tensorrt_library as module

        monkeypatch.setattr(module.LIBRARIES[0], "_import", missing)
        assert building_library().short == "rtx"
        with pytest.raises(RuntimeUnavailableError, match="library=tensorrt: TensorRT is not inst"):
            building_library("tensorrt")

    def test_the_exporter_heeds_it(self) -> None:
        assert exporter.TensorRtExporter.Options(library="rtx").library == "rtx"

    @BOTH
    def test_an_engine_is_opened_by_what_built_it(self, opened: Open, library: str) -> None:
        title = {"tensorrt": "TensorRT ", "tensorrt_rtx": "TensorRT-RTX "}[library]
        assert opened(DECODER).provider.startswith(title)
