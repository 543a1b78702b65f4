"""Checkpoints by name, against a server on this machine."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
import random
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from samdeploy import checkpoints, downloads
from samdeploy.checkpoints import Checkpoint, resolve_checkpoint
from samdeploy.errors import DownloadError, InputError

CONTENT = random.Random(0).randbytes(1_000_000)
NAME, FILE = "sam_test.pt", "sam_test_0123.pth"


class Server(ThreadingHTTPServer):
    """Serves ``files``.

    Attributes:
        cut: the next answer ends after that many bytes of its body.
        fault: what else is wrong with it: see :meth:`Handler.do_GET`.
    """

    files: dict[str, bytes]
    ranges = True
    cut: int | None = None
    fault = ""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {FILE: CONTENT}
        self.requests: list[str | None] = []
        self.go_on = threading.Event()

    def handle_error(self, *_: object) -> None:
        """A client that has enough closes the connection."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.requests.append(asked)
        self.close_connection = True
        content = self.server.files.get(self.path.strip("/"))
        if content is None:
            self.send_error(404)
            return
        fault, self.server.fault = self.server.fault, ""
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if asked and self.server.ranges and (start >= len(content) or fault == "416"):
            self.send_error(416)
            return
        partial = bool(asked) and self.server.ranges
        start += {"later": 100, "earlier": -100}.get(fault, 0)
        body = content[start:] if partial else content
        self.send_response(206 if partial or fault == "unasked" else 200)
        if partial and fault != "no Content-Range":
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if fault == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
        elif fault != "endless":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut, self.server.cut = self.server.cut, None
        body = body if cut is None else body[:cut]
        if fault == "chunked":
            body = b"%x\r\n%s\r\n%x\r\n" % (len(body), body, 1000)
        self.wfile.write(body)
        if fault == "stalls":
            self.wfile.flush()
            self.server.go_on.wait(20)
        while fault == "endless":
            try:
                self.wfile.write(bytes(1 << 16))
            except OSError:
                return

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
    digest = hashlib.sha256(CONTENT).hexdigest()
    known = Checkpoint(NAME, f"{server.url}/{FILE}", len(CONTENT), digest)
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
    moved = dataclasses.replace(known, url=f"{away}/{FILE}")
    monkeypatch.setitem(checkpoints.KNOWN, NAME, moved)
    monkeypatch.setenv("SAMDEPLOY_MIRROR", f"{server.url}/")
    assert resolve_checkpoint(NAME).read_bytes() == CONTENT


def test_interrupted_download_keeps_what_it_has(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = downloads._append

    def stopped(response: Any, start: int, file: Any, size: int) -> None:
        append(response, start, file, 1234)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(downloads, "_append", stopped)
        server.fault = "endless"
        with pytest.raises(KeyboardInterrupt):
            resolve_checkpoint(NAME)
    assert (cache / f"{FILE}.part").stat().st_size == 1234
    assert resolve_checkpoint(NAME).read_bytes() == CONTENT
    assert server.requests == [None, "bytes=1234-"]


def test_what_a_killed_process_left_is_continued(server: Server, cache: Path) -> None:
    cache.mkdir()
    (cache / f"{FILE}.part").write_bytes(CONTENT[:700_000])
    (cache / f".{FILE}.lock").touch()
    assert resolve_checkpoint(NAME).read_bytes() == CONTENT
    assert server.requests == ["bytes=700000-"]
    assert names(cache) == [FILE]


@pytest.mark.parametrize("fault", ["earlier", "later", "no Content-Range", "416"])
def test_a_wrong_part_of_the_file_costs_nothing(server: Server, cache: Path, fault: str) -> None:
    cache.mkdir()
    (cache / f"{FILE}.part").write_bytes(CONTENT[:700_000])
    server.fault, server.cut = fault, None
    assert resolve_checkpoint(NAME).read_bytes() == CONTENT
    again = [] if fault == "earlier" else [None]
    assert server.requests == ["bytes=700000-", *again]


def test_the_whole_file_again_leaves_what_is_here(server: Server, cache: Path) -> None:
    cache.mkdir()
    (cache / f"{FILE}.part").write_bytes(CONTENT[:700_000])
    server.ranges, server.cut = False, 500_000
    with pytest.raises(DownloadError, match="ended after 700000 of 1000000 bytes"):
        resolve_checkpoint(NAME)
    assert (cache / f"{FILE}.part").read_bytes() == CONTENT[:700_000]


def test_a_part_that_nobody_asked_for(server: Server) -> None:
    server.fault = "unasked"
    with pytest.raises(DownloadError, match="a part of the file that nobody asked for"):
        resolve_checkpoint(NAME)


def test_an_answer_without_end_is_cut(server: Server, cache: Path) -> None:
    server.fault = "endless"
    assert resolve_checkpoint(NAME).read_bytes() == CONTENT
    assert names(cache) == [FILE]


def test_a_broken_transfer_in_chunks_keeps_what_arrived(server: Server, cache: Path) -> None:
    server.fault, server.cut = "chunked", 600_000
    with pytest.raises(DownloadError) as refused:
        resolve_checkpoint(NAME)
    assert "\n" not in str(refused.value)
    assert (cache / f"{FILE}.part").read_bytes() == CONTENT[:600_000]
    assert resolve_checkpoint(NAME).read_bytes() == CONTENT


def test_a_stall_keeps_what_arrived(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "_TIMEOUT", 0.5)
    server.fault, server.cut = "stalls", 300_000
    try:
        with pytest.raises(DownloadError, match="timed out"):
            resolve_checkpoint(NAME)
    finally:
        server.go_on.set()
    assert (cache / f"{FILE}.part").read_bytes() == CONTENT[:300_000]
    assert resolve_checkpoint(NAME).read_bytes() == CONTENT


def test_a_page_instead_of_the_file_is_not_taken(server: Server, cache: Path) -> None:
    server.files[FILE] = b"<html>" + bytes(2_000_000)
    with pytest.raises(DownloadError, match="it has 2000006 bytes there; expected 1000000"):
        resolve_checkpoint(NAME)
    assert names(cache) == []


@pytest.mark.parametrize("damage", [CONTENT[:-1] + b"?", CONTENT[:5]])
def test_a_damaged_file_in_the_cache_is_replaced(
    server: Server, cache: Path, noticed: Callable[[], list[str]], damage: bytes
) -> None:
    resolve_checkpoint(NAME).write_bytes(damage)
    server.cut = 10
    with pytest.raises(DownloadError):
        resolve_checkpoint(NAME)
    assert (cache / FILE).read_bytes() == damage
    assert resolve_checkpoint(NAME).read_bytes() == CONTENT
    assert "is damaged (its size or SHA-256 differs) and is downloaded again" in noticed()[-1]


def test_a_full_disk(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(downloads, "_append", full)
    with pytest.raises(DownloadError, match=r"cannot be written to \(No space left.*free space"):
        resolve_checkpoint(NAME)


def test_no_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("SAMDEPLOY_CACHE")
    monkeypatch.setattr(Path, "home", homeless)
    assert resolve_checkpoint("sam_tiny.pt").is_file()
    with pytest.raises(DownloadError, match=r"no home folder.*set SAMDEPLOY_CACHE"):
        resolve_checkpoint(NAME)


def test_a_cache_under_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("SAMDEPLOY_CACHE", "~/weights")
    assert resolve_checkpoint(NAME) == tmp_path / "weights" / FILE


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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a pipe has no name here")
def test_only_regular_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pt")
    for name in ("pipe.pt", "/dev/zero", ".", "x" * 5000, "a\0b"):
        with pytest.raises(InputError, match=r"expected a file|neither a file"):
            resolve_checkpoint(name)


@pytest.mark.parametrize(
    ("name", "hint"), [("sam_bb.pt", "did you mean 'sam_b.pt'"), ("resnet", "expected one of sam_")]
)
def test_unknown_names(name: str, hint: str) -> None:
    with pytest.raises(InputError, match=hint):
        resolve_checkpoint(name)


def test_every_known_checkpoint_has_a_full_hash_or_none() -> None:
    for checkpoint in checkpoints.KNOWN.values():
        assert len(bytes.fromhex(checkpoint.sha256)) == (32 if checkpoint.bytes else 0)
        assert checkpoint.url.startswith(("https://", "http://127.0.0.1"))


def test_a_name_without_a_hash_is_not_downloaded(server: Server) -> None:
    unseen = Checkpoint("unseen.pt", f"{server.url}/{FILE}")
    with pytest.raises(
        DownloadError, match=r"^'unseen\.pt' is published at http\S+, .*; download it and"
    ):
        checkpoints.fetch(unseen)
    assert not server.requests


def test_a_file_beside_a_name_without_a_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Downloaded by hand, under the name that it has: it is the file that is meant."""
    monkeypatch.chdir(tmp_path)
    where = r"'sam_hq_vit_b\.pth' is published at https://huggingface\.co/lkeab/hq-sam/.*_b\.pth"
    with pytest.raises(DownloadError, match=where):
        resolve_checkpoint("sam_hq_vit_b.pth")
    with pytest.raises(DownloadError, match=r"'repvit_sam\.pt' is published at"):
        resolve_checkpoint("repvit_sam.pt")
    Path("repvit_sam.pt").write_bytes(b"1")
    assert resolve_checkpoint("repvit_sam.pt").samefile("repvit_sam.pt")
