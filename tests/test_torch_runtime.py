"""The torch runtime beside other users of torch in the same process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from samdeploy.errors import InputError, RuntimeUnavailableError
from samdeploy.graphs import DECODER, ENCODER
from samdeploy.registry import load_runtime
from samdeploy.resident import freeze
from samdeploy.runtimes import torch as module
from samdeploy.session import RuntimeOptions, TensorSpec

SPEC = TensorSpec("image", (2, 2))


class Recorder(torch.nn.Module):
    """Multiplies by two, and says with what settings."""

    def __init__(self, meeting: threading.Barrier | None = None) -> None:
        super().__init__()
        self.seen: list[Any] = []
        self.given: list[torch.Tensor] = []
        self._meeting = meeting

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if self._meeting is not None:
            self._meeting.wait(10)
        self.seen.append((state(), torch.is_autocast_enabled("cpu")))
        self.given.append(image)
        return image * 2


def state() -> list[Any]:
    found = [getattr(owner, name) for owner, name, _ in module._settings()]
    return [*found, module._matmul_precision()]


def session(recorder: torch.nn.Module) -> module.TorchSession:
    graph: Any = SimpleNamespace(inputs=(SPEC,), outputs=(SPEC,), module=recorder)
    return module.TorchSession(graph, "cpu")


@pytest.fixture(params=["highest", "medium"])
def precision(request: pytest.FixtureRequest) -> Iterator[str]:
    before = state()
    torch.set_float32_matmul_precision(request.param)
    yield request.param
    torch.set_float32_matmul_precision("highest")
    for (owner, name, _), value in zip(module._settings(), before, strict=False):
        setattr(owner, name, value)


def test_float32_whatever_the_process_allows(precision: str) -> None:
    recorder, image = Recorder(), np.ones((2, 2), np.float32)
    before = state()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        session(recorder).run({"image": image})
        assert torch.is_autocast_enabled("cpu")
    exact = [exact for _, _, exact in module._settings()]
    assert recorder.seen == [([*exact, "highest"], False)]
    assert state() == before
    assert before[-1] == precision


def test_settings_come_back_with_the_last_thread(precision: str) -> None:
    before, image = state(), np.ones((2, 2), np.float32)
    meeting = threading.Barrier(2)
    recorders = [Recorder(meeting), Recorder(meeting)]
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda r: session(r).run({"image": image}), recorders))
    seen = [settings for recorder in recorders for settings, _ in recorder.seen]
    assert all(settings[-1] == "highest" for settings in seen)
    assert state() == before


def test_settings_come_back_after_a_failure(precision: str) -> None:
    class Broken(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("CUDA out of memory.\nTried to allocate")

    before = state()
    with pytest.raises(RuntimeUnavailableError, match=r"ran the graph: CUDA out of memory\.; cho"):
        session(Broken()).run({"image": np.ones((2, 2), np.float32)})
    assert state() == before


def test_a_frozen_array_is_moved_once() -> None:
    recorder = Recorder()
    opened, image = session(recorder), freeze(np.ones((2, 2), np.float32))
    for _ in range(2):
        opened.run({"image": image})
    assert recorder.given[0] is recorder.given[1]
    opened.run({"image": np.zeros((2, 2), np.float32)})
    assert recorder.given[2] is not recorder.given[0]
    opened.close()
    opened.close()
    with pytest.raises(InputError, match="the session is closed"):
        opened.run({"image": image})


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.parametrize("device", ["cuda:7", "cpu:7", "cuda:x", "CUDA", "xpu"])
def test_a_device_that_is_not_there(two_gpus: None, device: str) -> None:
    opener = load_runtime("torch")()
    with pytest.raises(
        RuntimeUnavailableError,
        match=rf"^device '{device}' is not usable by torch here; .*'cuda', 'cuda:1', 'cpu'",
    ):
        opener.open(Path("none.pt"), ENCODER, device=device, options=RuntimeOptions())


def test_the_first_may_be_counted(small_checkpoint: Path, small_config: Path) -> None:
    options = RuntimeOptions(config=small_config)
    opened = load_runtime("torch")().open(
        small_checkpoint, DECODER, device="cpu:0", options=options
    )
    assert opened.provider == "torch cpu:0 fp32"
