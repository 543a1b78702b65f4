"""RKNN: the whole way with stand-ins for Rockchip's two packages, which run the ONNX graph, and
with its toolkit overnight where ``SAMDEPLOY_RKNN`` names one. No board has run any of it."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from samdeploy import SAM
from samdeploy.bundle import Bundle
from samdeploy.bundle_files import check_references
from samdeploy.errors import (
    BundleError,
    ExportError,
    InputError,
    RuntimeUnavailableError,
    VerificationError,
)
from samdeploy.exporters.rknn import RknnExporter, RknnOptions
from samdeploy.exporting.pipeline import export
from samdeploy.exporting.verify_sam import verify_sessions
from samdeploy.graphs import ALL_ROLES, DECODER, ENCODER, MASK_HEAD
from samdeploy.runtimes import rknnlite
from samdeploy.runtimes.rknn_simulator import RknnSimulatorRuntime, SimulatedSession
from samdeploy.runtimes.rknn_toolkit import VARIABLE, Toolkit, ToolkitError
from samdeploy.runtimes.rknnlite import RknnLiteRuntime
from samdeploy.runtimes.torch import TorchSession
from samdeploy.session import RuntimeOptions
from samdeploy.testing import ExporterContract, RuntimeContract
from samdeploy.testing.small_model import answers, feeds_of, small_graphs
from tests.encoder_session import opened

pytestmark = [pytest.mark.exporting, pytest.mark.skipif(sys.platform != "linux", reason="as RKNN")]

STAND_IN = Path(__file__).parent / "rknn_stand_in"
#: A toolkit that the tests were started with.
REAL = os.environ.get(VARIABLE)


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has the stand-in."""
    folder = tmp_path_factory.mktemp("rknn-env")
    (folder / "lib/python3/site-packages/rknn_toolkit2-9.9.dist-info").mkdir(parents=True)
    python = folder / "bin" / "python"
    python.parent.mkdir()
    words = shlex.join(["env", f"PYTHONPATH={STAND_IN}", sys.executable])
    python.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    python.chmod(0o755)
    return python


@pytest.fixture(scope="class", autouse=True)
def toolkit(environment: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(environment))
        yield


@pytest.fixture(scope="class")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """This machine as a board with an RK3588S."""
    told = tmp_path_factory.mktemp("board") / "compatible"
    told.write_bytes(b"radxa,rock-5a\0rockchip,rk3588s\0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rknnlite, "_COMPATIBLE", told)
        patch.setattr(rknnlite, "version", lambda name: "9.9")
        patch.syspath_prepend(STAND_IN)
        yield told


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory, environment: Path) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("rknn")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(environment))
        exporter, options = RknnExporter(), RknnOptions(max_prompts=3, max_points=8)
        graphs = {
            role: exporter.export(graph, folder, options) for role, graph in small_graphs().items()
        }
    return {role: folder / graph.files[0] for role, graph in graphs.items()}


class TestExporter(ExporterContract):
    format = "rknn"
    options: ClassVar[dict[str, Any]] = {"max_prompts": 3, "max_points": 8, "chip": "rk3576"}


class OfWritten(RuntimeContract):
    @classmethod
    def find_graphs(cls, fixture: Callable[[str], Any]) -> dict[str, Path]:
        graphs: dict[str, Path] = fixture("written")
        assert set(graphs) == set(ALL_ROLES)
        return graphs

    @classmethod
    def find_options(cls, fixture: Callable[[str], Any]) -> RuntimeOptions:
        return RuntimeOptions()


class TestSimulator(OfWritten):
    runtime = "rknn-simulator"


@pytest.mark.usefixtures("board")
class TestBoard(OfWritten):
    runtime = "rknnlite"
    device = "npu"

    def test_of_another_chip(self, written: dict[str, Path], board: Path) -> None:
        before = board.read_bytes()
        board.write_bytes(b"pine64,quartz64\0rockchip,rk3566\0")
        with pytest.raises(BundleError, match=r"rk3588 and this board has rk3566; .*chip=rk3566"):
            opened(RknnLiteRuntime, written[ENCODER], "npu")
        board.write_bytes(before)

    def test_what_it_cannot_open(self, written: dict[str, Path], tmp_path: Path) -> None:
        shutil.copy(written[ENCODER].with_suffix(".json"), tmp_path / "encoder.json")
        (tmp_path / "encoder.rknn").write_bytes(b"nothing")
        with pytest.raises(BundleError, match=r"RKNN cannot open '.*encoder\.rknn'; renew the"):
            opened(RknnLiteRuntime, tmp_path / "encoder.rknn", "npu")
        with pytest.raises(InputError, match="streams=2; runtime 'rknnlite' has no use for it"):
            opened(RknnLiteRuntime, written[ENCODER], "npu", streams=2)


def test_other_machines_are_no_board(written: dict[str, Path]) -> None:
    assert "no board with one of rk3562" in RknnLiteRuntime.availability().reason
    with pytest.raises(BundleError, match="this board has none of these chips"):
        sys.path.insert(0, str(STAND_IN))
        try:
            opened(RknnLiteRuntime, written[ENCODER], "npu")
        finally:
            sys.path.remove(str(STAND_IN))


def test_refusals(written: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"chip=rk1808; expected one of rk3562, .*rk3588\."):
        RknnOptions(chip="rk1808")
    with pytest.raises(RuntimeUnavailableError, match="'npu' is not one of runtime 'rknn-sim"):
        opened(RknnSimulatorRuntime, written[ENCODER], "npu")
    with pytest.raises(InputError, match="threads=2; runtime 'rknn-simulator' has no use for it"):
        opened(RknnSimulatorRuntime, written[ENCODER], "cpu", threads=2)
    lone = shutil.copy(written[ENCODER], tmp_path / "encoder.rknn")
    with pytest.raises(BundleError, match=r"encoder\.json' does not say what 'encoder\.rknn' was"):
        opened(RknnSimulatorRuntime, lone, "cpu")
    shutil.copy(written[ENCODER].with_suffix(".json"), tmp_path / "encoder.json")
    with pytest.raises(BundleError, match=r"RKNN cannot simulate '.*encoder\.onnx' \(FileNotFound"):
        opened(RknnSimulatorRuntime, lone, "cpu")


def test_the_toolkit_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ExportError, match=r"convert the mask_head \(.*: build: no room on this ch"):
        RknnExporter().export(small_graphs()[MASK_HEAD], tmp_path, RknnOptions(chip="rk3562"))
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\nraise ModuleNotFoundError('No module named rknn')\n")
    python.chmod(0o755)
    monkeypatch.setenv(VARIABLE, str(python))
    with pytest.raises(ToolkitError, match="it ended: ModuleNotFoundError: No module named rknn"):
        Toolkit().ask("close", number=0)
    assert "is no Python of an environment" in RknnExporter.availability().reason
    monkeypatch.delenv(VARIABLE)
    assert RknnSimulatorRuntime.availability().install.startswith("python3.11 -m venv rknn-env")


def test_a_simulator_that_ended_is_closed_quietly(written: dict[str, Path]) -> None:
    session = opened(RknnSimulatorRuntime, written[ENCODER], "cpu")
    assert isinstance(session, SimulatedSession)
    toolkit = session._toolkit
    assert toolkit is not None
    toolkit._process.kill()
    with pytest.raises(RuntimeUnavailableError, match=r"failed while it ran the graph .*it ended"):
        session.run(feeds_of(ENCODER, 1, 1))
    session.close()
    session.close()


def test_what_is_read_beside_a_file_is_listed(written: dict[str, Path]) -> None:
    folder = written[ENCODER].parent
    names = {path.name for path in folder.iterdir()}
    check_references(folder, names)
    for name in ("encoder.json", "encoder.onnx", "decoder_batch.rknn"):
        with pytest.raises(BundleError, match=f"'{name}', which the manifest"):
            check_references(folder, names - {name})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, environment: Path) -> Path:
    output = tmp_path_factory.mktemp("bundles") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, REAL or str(environment))
        return export("sam_tiny.pt", "rknn", output=output, chip="rk3588")


@pytest.mark.slow
@pytest.mark.overnight
@pytest.mark.timeout(0)
class TestShipped:
    """With the real toolkit where there is one."""

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def real(cls, toolkit: None) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(VARIABLE, REAL or os.environ[VARIABLE])
            yield

    def test_it_passes_its_gate_in_the_simulator(self, bundle: Path) -> None:
        manifest = Bundle.open(bundle).manifest
        record = manifest.verification
        assert (manifest.format, manifest.runtime, manifest.precision) == (
            "rknn", "rknnlite", "fp16",
        )  # fmt: skip
        assert (record.passed, record.mode) == (True, "simulated")
        assert record.provider == "RKNN simulator, rk3588"
        assert record.sentence.startswith("passed, simulated, mean mask IoU")
        with pytest.raises(RuntimeUnavailableError, match="this machine is no board"):
            SAM(bundle)

    def test_a_flipped_weight_fails_the_verification(self, tmp_path: Path) -> None:
        graph = small_graphs()[ENCODER]
        assert RknnExporter().export(graph, tmp_path, RknnOptions()).files[0].name == "encoder.rknn"
        check_a_flipped_weight(tmp_path)


def check_a_flipped_weight(folder: Path) -> None:
    """Turn the highest bit of the exponent of a weight of ``encoder.onnx`` between two checks."""
    reference = {role: TorchSession(small_graphs()[role], "cpu") for role in (ENCODER, DECODER)}
    for passes in (True, False):
        session = opened(RknnSimulatorRuntime, folder / "encoder.rknn", "cpu")
        candidate = {**reference, ENCODER: session}
        record = verify_sessions(reference, candidate, precision="fp16", images=1)
        assert record.passed is passes
        session.close()
        model = onnx.load(folder / "encoder.onnx")
        weights = max(model.graph.initializer, key=lambda each: int(np.prod(each.dims)))
        values = numpy_helper.to_array(weights).copy()
        values.view(np.uint32).reshape(-1)[values.size // 2] ^= np.uint32(1 << 30)
        weights.CopyFrom(numpy_helper.from_array(values, weights.name))
        onnx.save(model, folder / "encoder.onnx")


def test_a_flipped_weight_fails_the_verification(written: dict[str, Path], tmp_path: Path) -> None:
    for path in written[ENCODER].parent.glob("encoder.*"):
        shutil.copy(path, tmp_path)
    check_a_flipped_weight(tmp_path)


def test_a_graph_that_misses_its_gate(
    tmp_path: Path, small_checkpoint: Path, small_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulated or not, it is not written."""
    ask = Toolkit.ask

    def wrong(self: Toolkit, do: str, *given: Any, **order: Any) -> Any:
        return [-answer for answer in ask(self, do, *given, **order)]

    monkeypatch.setattr(Toolkit, "ask", wrong)
    with pytest.raises(VerificationError, match="does not match the torch reference"):
        export(
            small_checkpoint, "rknn", output=tmp_path / "small", config=small_config, max_prompts=1
        )
    assert not (tmp_path / "small").exists()


@pytest.mark.parametrize("role", ALL_ROLES)
def test_it_answers_like_torch(role: str, written: dict[str, Path]) -> None:
    graph, feeds = small_graphs()[role], feeds_of(role, 1, 4)
    found = RknnSimulatorRuntime().open(
        written[role], role, device="cpu", options=RuntimeOptions()
    ).run(feeds)  # fmt: skip
    for name, expected in answers(graph, feeds).items():
        if found[name].shape == expected.shape:
            assert np.abs(found[name] - expected).max() <= 1e-4 * np.abs(expected).max()
