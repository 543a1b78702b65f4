"""The command ``serve`` as a process: it starts, answers, and ends when it is told to."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from samdeploy.scenes import Scene
from tests.cli.conftest import Cli
from tests.serving.client import Client, png, text

pytestmark = pytest.mark.exporting


@contextmanager
def serving(*words: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    with subprocess.Popen(
        [sys.executable, "-m", "samdeploy", "serve", *words, "port=0", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            told = "".join(iter(process.stdout.readline, "}\n")) + "}"
            yield process, json.loads(told)
        finally:
            process.kill()


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_what_has_begun_ends(tiny_bundle: Path, scene: Scene, number: signal.Signals) -> None:
    with serving(f"model={tiny_bundle}", "threads=1") as (process, told):
        client = Client(told["url"])
        assert told["models"] == ["sam_tiny_onnx"] and told["token"] is None
        replies = []
        asked = {"image": text(png(scene.image)), "settings": {"points_stride": 16}}
        thread = Thread(target=lambda: replies.append(client.post("/samdeploy/v1/generate", asked)))
        thread.start()
        time.sleep(0.2)
        process.send_signal(number)
        thread.join()
        assert replies[0].status == 200 and replies[0].json["masks"]
        assert process.wait(20) == 0
        assert process.stderr is not None and process.stderr.read() == ""


def test_a_second_signal_does_not_wait(tiny_bundle: Path, scene: Scene) -> None:
    with serving(f"model={tiny_bundle}", "threads=1") as (process, told):
        client = Client(told["url"])
        settings = {"points_stride": 64, "use_m2m": True}
        asked = {"image": text(png(scene.image)), "settings": settings}

        def ask() -> None:
            with suppress(OSError, HTTPException):
                client.post("/samdeploy/v1/generate", asked)

        thread = Thread(target=ask)
        thread.start()
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 128 + signal.SIGTERM
        thread.join()


def test_elsewhere_a_token_is_made(small_bundle: Path) -> None:
    with serving(f"model={small_bundle}", "host=0.0.0.0") as (_, told):
        client = Client(told["url"].replace("0.0.0.0", "127.0.0.1"))
        assert client.get("/v1/models").status == 401
        assert len(told["token"]) > 30
        assert client.get("/v1/models", Token=told["token"]).status == 200


def test_what_cannot_be_served(cli: Cli, small_bundle: Path, monkeypatch: Any) -> None:
    for words, sentence in (
        ((f"model={small_bundle},{small_bundle}",), "second 'small_onnx'"),
        (("model=nothing_onnx",), "nothing_onnx"),
        ((f"model={small_bundle}", "port=99999"), "port=99999"),
        ((f"model={small_bundle}", "host=203.0.113.7", "port=0"), "cannot be listened on"),
        ((f"model={small_bundle}", "host=a..b", "port=0"), "host=a..b port=0 cannot be listened"),
        ((f"model={small_bundle}", "prot=1"), "did you mean 'port'?"),
    ):
        outcome = cli("serve", *words)
        assert outcome.code == 2
        assert sentence in outcome.err and outcome.err.count("\n") == 1
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "samdeploy.serving.run", raising=False)
    outcome = cli("serve", f"model={small_bundle}")
    assert outcome.code == 2
    assert "pip install 'samdeploy[serve]'" in outcome.err and outcome.err.count("\n") == 1
