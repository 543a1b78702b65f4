"""Checkpoints by name, against a server on this machine."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from samdeploy import checkpoints
from samdeploy.checkpoints import Checkpoint, resolve_checkpoint
from samdeploy.errors import DownloadError, InputError

CONTENT = os.urandom(1_000_000)
NAME, FILE = "sam_test.pt", "sam_test_0123.pth"


class Server(ThreadingHTTPServer):
    """Serves ``files``; ``cut`` closes the connection after that many bytes of the next answer."""

    files: dict[str, bytes]
    ranges = True
    cut: int | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {FILE: CONTENT}
        self.requests: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.requests.append(asked)
        content = self.server.files.get(self.path.strip("/"))
        if content is None:
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if asked and self.server.ranges and start >= len(content):
            self.send_error(416)
            return
        partial = bool(asked) and self.server.ranges
        body = content[start:] if partial else content
        self.send_response(206 if partial else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut, self.server.cut = self.server.cut, None
        self.wfile.write(body if cut is None else body[:cut])

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("SAMDEPLOY_CACHE", str(folder))
    monkeypatch.delenv("SAMDEPLOY_MIRROR", raising=False)
    monkeypatch.chdir(tmp_path)
    known = Checkpoint(NAME, f"{server.url}/{FILE}", hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setitem(checkpoints.KNOWN, NAME, known)
    monkeypatch.setitem(checkpoints._BY_FILE_NAME, FILE, known)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_download_then_cache(server: Server, cache: Path) -> None:
    path = resolve_checkpoint(NAME)
    assert path == cache / FILE
    assert path.read_bytes() == CONTENT
    assert resolve_checkpoint(FILE) == path
    assert len(server.requests) == 1
    assert names(cache) == [FILE]


def test_a_local_file_wins(server: Server, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"mine")
    assert resolve_checkpoint(NAME) == Path(NAME)
    assert not server.requests


def test_the_shipped_model_needs_no_network(server: Server) -> None:
    assert resolve_checkpoint("sam_tiny.pt").stat().st_size < 10_000_000
    assert not server.requests


def test_truncated_then_resumed(server: Server, cache: Path) -> None:
    server.cut = 400_000
    with pytest.raises(DownloadError, match="ended after 400000 of 1000000 bytes"):
        resolve_checkpoint(NAME)
    assert names(cache) == [f"{FILE}.part"]
    assert resolve_checkpoint(NAME).read_bytes() == CONTENT
    assert server.requests == [None, "bytes=400000-"]
    assert names(cache) == [FILE]


def test_a_server_that_cannot_continue_starts_anew(server: Server, cache: Path) -> None:
    server.cut = 400_000
    with pytest.raises(DownloadError):
        resolve_checkpoint(NAME)
    server.ranges = False
    assert resolve_checkpoint(NAME).read_bytes() == CONTENT
    assert names(cache) == [FILE]


def test_a_tampered_file_is_deleted(server: Server, cache: Path) -> None:
    server.files[FILE] = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    with pytest.raises(DownloadError, match=r"not the published file.*put it at"):
        resolve_checkpoint(NAME)
    assert names(cache) == []
    server.files[FILE] = CONTENT
    assert resolve_checkpoint(NAME).read_bytes() == CONTENT


@pytest.mark.parametrize("left", [CONTENT[:1000][::-1], CONTENT[::-1], CONTENT + b"more"])
def test_a_wrong_partial_file_is_not_trusted(cache: Path, left: bytes) -> None:
    cache.mkdir()
    (cache / f"{FILE}.part").write_bytes(left)
    with pytest.raises(DownloadError, match="SHA-256"):
        resolve_checkpoint(NAME)
    assert resolve_checkpoint(NAME).read_bytes() == CONTENT


def test_not_found(server: Server, cache: Path) -> None:
    server.files.clear()
    with pytest.raises(DownloadError, match="404"):
        resolve_checkpoint(NAME)
    assert names(cache) == []


def test_offline(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    with Server() as gone:
        url = gone.url
    monkeypatch.setenv("SAMDEPLOY_MIRROR", url)
    with pytest.raises(DownloadError) as refused:
        resolve_checkpoint("sam_b.pt")
    sentence = str(refused.value)
    assert "https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth" in sentence
    assert str(cache / "sam_vit_b_01ec64.pth") in sentence
    assert "\n" not in sentence


def test_mirror(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server() as gone:
        away = gone.url
    known = checkpoints.KNOWN[NAME]
    moved = Checkpoint(NAME, f"{away}/{FILE}", known.sha256)
    monkeypatch.setitem(checkpoints.KNOWN, NAME, moved)
    monkeypatch.setenv("SAMDEPLOY_MIRROR", f"{server.url}/")
    assert resolve_checkpoint(NAME).read_bytes() == CONTENT


def test_interrupted_download_keeps_what_it_has(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    download = checkpoints._download

    def stopped(url: str, path: Path, name: str) -> None:
        download(url, path, name)
        path.write_bytes(path.read_bytes()[:1234])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "_download", stopped)
        with pytest.raises(KeyboardInterrupt):
            resolve_checkpoint(NAME)
    assert (cache / f"{FILE}.part").stat().st_size == 1234
    assert resolve_checkpoint(NAME).read_bytes() == CONTENT


def test_two_at_once(cache: Path) -> None:
    found: list[bytes] = []

    def work() -> None:
        found.append(resolve_checkpoint(NAME).read_bytes())

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [CONTENT, CONTENT]
    assert names(cache) == [FILE]


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SAMDEPLOY_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(DownloadError, match="SAMDEPLOY_CACHE"):
        resolve_checkpoint(NAME)


@pytest.mark.parametrize(
    ("name", "hint"), [("sam_bb.pt", "did you mean 'sam_b.pt'"), ("resnet", "known names")]
)
def test_unknown_names(name: str, hint: str) -> None:
    with pytest.raises(InputError, match=hint):
        resolve_checkpoint(name)


def test_every_known_checkpoint_has_a_full_hash() -> None:
    for checkpoint in checkpoints.KNOWN.values():
        assert len(bytes.fromhex(checkpoint.sha256)) == 32
        assert checkpoint.url.startswith(("https://", "http://127.0.0.1"))
