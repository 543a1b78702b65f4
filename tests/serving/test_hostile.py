"""Requests that nobody should send: each is refused with a sentence, and the server lives."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Event
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samdeploy import SAM
from samdeploy.masks.rle import Rle
from samdeploy.serving.turns import Turns
from samdeploy.web.page import page_folder
from tests.serving.client import Reply, png, text
from tests.serving.conftest import Running, Start

pytestmark = pytest.mark.exporting

V1 = "/samdeploy/v1"
JSON = {"Content_Type": "application/json"}
POINT = [{"points": [[9, 9]]}]


def bomb() -> bytes:
    """A PNG of 30,000 x 30,000 pixels in some bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(1_000_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


def text_bomb(picture: bytes) -> bytes:
    """A PNG whose comment unpacks to far more than Pillow takes."""
    content = b"Comment\x00\x00" + zlib.compress(bytes(80_000_000))
    chunk = struct.pack(">I", len(content)) + b"zTXt" + content
    chunk += struct.pack(">I", zlib.crc32(b"zTXt" + content))
    return picture[:33] + chunk + picture[33:]


def tiff_of_many_tiles() -> bytes:
    file = io.BytesIO()
    Image.new("L", (2000, 2000)).save(file, "TIFF", compression="tiff_deflate")
    return file.getvalue()


def predict(picture: bytes, prompts: Any, **more: Any) -> dict[str, Any]:
    return {"image": text(picture), "prompts": prompts} | more


def cases(file: bytes) -> Iterator[tuple[str, str, Any, dict[str, str], int, str]]:
    """Name, path, body, headers, expected status, and words of the sentence."""
    small = png(np.zeros((8, 8, 3), np.uint8))
    p, g, i = f"{V1}/predict", f"{V1}/generate", f"{V1}/images"
    binary = {"Content_Type": "application/octet-stream"}

    def of(name: str, body: Any, status: int, words: str, path: str = p, **h: str) -> Any:
        return name, path, body, h or JSON, status, words

    yield of("empty body", b"", 400, "cannot be read")
    yield of("no JSON", b"{", 400, "cannot be read")
    yield of("JSON cut off", json.dumps(predict(file, POINT))[:-9], 400, "cannot be read")
    yield of("another value", b"[]", 422, "Expected `object`")
    yield of("null", b"null", 422, "Expected `object`")
    yield of("deep JSON", b"[" * 500_000, 422, "Expected `object`")
    yield of("deep inside", b'{"settings":{"a":' + b"[" * 500_000, 400, "deep", g)
    yield of("no UTF-8", b'{"model": "\xff\xfe"}', 400, "cannot be read")
    yield of("NaN", b'{"prompts": [{"points": [[NaN, 1]]}]}', 400, "cannot be read")
    yield of("infinite", b'{"image":"","prompts":[{"points":[[1e999,1]]}]}', 422, "out of range")
    yield of("unknown field", predict(file, POINT) | {"promts": 1}, 422, "promts")
    yield of("wrong type", predict(file, "points"), 422, "prompts")
    yield of("points are texts", predict(file, [{"points": [["a", "b"]]}]), 422, "points")
    yield of("a point of three", predict(file, [{"points": [[1, 2, 3]]}]), 422, "length 2")
    yield of("label 7", predict(file, [{"points": [[1, 2]], "labels": [7]}]), 422, "labels")
    yield of("labels too few", predict(file, [{"points": [[1, 2]], "labels": []}]), 422, "label")
    yield of("labels alone", predict(file, [{"labels": [1]}]), 422, "without points")
    yield of("no prompt", predict(file, []), 422, "at least one")
    yield of("empty prompt", predict(file, [{}]), 422, "empty Prompt")
    yield of("outside", predict(file, [{"points": [[1e9, 1]]}]), 422, "outside the image")
    yield of("box of negatives", predict(file, [{"box": [-5000, -9, -1, -2]}]), 422, "box")
    yield of("box inside out", predict(file, [{"box": [90, 90, 10, 10]}]), 422, "no area")
    yield of("too many prompts", predict(file, POINT * 300), 422, "at most 256")
    yield of("too many points", predict(file, [{"points": [[1, 1]] * 300}]), 422, "at most 256")
    yield of("unknown model", predict(file, POINT, model="x" * 5000), 404, "no model")
    yield of("model is a path", predict(file, POINT, model="../../etc"), 404, "no model")
    yield of("image is a path", {"image": "/etc/passwd!", "prompts": POINT}, 422, "no base64")
    yield of(
        "image is a file URL", {"image": "file:///etc/passwd", "prompts": POINT}, 422, "no base64"
    )
    yield of(
        "image is an address", {"image": "http://127.0.0.1/", "prompts": POINT}, 422, "no base64"
    )
    yield of("data URL of text", {"image": "data:text/html,<b>", "prompts": POINT}, 422, "base64")
    yield of("image of 0 bytes", {"image": "", "prompts": POINT}, 422, "empty")
    yield of("no image", {"prompts": POINT}, 422, "either image or image_id")
    yield of("two images", predict(file, POINT, image_id="x"), 422, "either image or image_id")
    yield of("unknown image", {"image_id": "../../x", "prompts": POINT}, 404, "is not here")
    yield of("upload of nothing", b"", 422, "empty", i, **binary)
    yield of("upload of noise", bytes(range(256)), 422, "unknown format", i, **binary)
    yield of("picture cut off", file[: len(file) // 2], 422, "truncated", i, **binary)
    yield of("damaged picture", file[:60] + b"x" * 60 + file[120:], 422, "damaged", i, **binary)
    yield of("decompression bomb", bomb(), 422, "at most 1000000", i, **binary)
    yield of("comment that unpacks", text_bomb(file), 422, "image", i, **binary)
    yield of("too many pixels", tiff_of_many_tiles(), 422, "at most 1000000", i, **binary)
    yield of("an SVG", b"<svg xmlns='http://www.w3.org/2000/svg'/>", 422, "format", i, **binary)
    yield of("too large", bytes(3_000_000), 413, "at most 2000000", i, **binary)
    yield of("a form", b"a=1", 415, "expected application/json", Content_Type="text/plain")
    size = [180, 240]
    mask = predict(file, [{"mask": {"size": size, "counts": "1" * 99}}])
    yield of(
        "mask of another size",
        predict(file, [{"mask": {"size": [10**9, 10**9], "counts": "0"}}]),
        422,
        "size",
    )
    yield of("mask that is short", mask, 422, "RLE counts")
    yield of(
        "mask that never ends",
        predict(file, [{"mask": {"size": size, "counts": "o" * 500_000}}]),
        422,
        "RLE counts",
    )
    yield of(
        "mask that wraps around",
        predict(file, [{"mask": {"size": size, "counts": [2**40] * 9}}]),
        422,
        "RLE counts",
    )
    yield of(
        "mask whose sums are too large",
        predict(file, [{"mask": {"size": size, "counts": ("o" * 11 + "?") * 99}}]),
        422,
        "RLE counts",
    )
    yield of(
        "mask of negatives", predict(file, [{"mask": {"size": size, "counts": [-1]}}]), 422, ">= 0"
    )
    yield of(
        "unknown setting", {"image": text(small), "settings": {"x": 1}}, 422, "unknown setting", g
    )
    yield of(
        "million points",
        {"image": text(small), "settings": {"points_stride": 1000}},
        422,
        "at most 4096",
        g,
    )
    yield of(
        "batch",
        {"image": text(small), "settings": {"points_batch_size": 1000}},
        422,
        "at most 64",
        g,
    )
    yield of(
        "batch by another name",
        {"image": text(small), "settings": {"points_per_batch": 1000}},
        422,
        "at most 64",
        g,
    )
    yield of(
        "crops of one point each",
        {"image": text(small), "settings": {"points_stride": 1, "crop_n_layers": 5}},
        422,
        "1365 crops",
        g,
    )
    yield of(
        "a file of the server",
        {"image": text(small), "settings": {"mode": "proposals", "proposals": "/etc/passwd"}},
        422,
        "opens no files",
        g,
    )
    yield of(
        "many boxes",
        {
            "image": text(small),
            "settings": {"mode": "proposals", "proposals": [[0, 0, 9, 9]] * 5000},
        },
        422,
        "at most 4096",
        g,
    )
    yield of(
        "setting of a wrong type",
        {"image": text(small), "settings": {"points_stride": "x"}},
        422,
        "whole number",
        g,
    )
    yield of("settings are a list", {"image": text(small), "settings": [1]}, 422, "settings", g)
    yield of("path tricks", b"{}", 404, "not answered here", f"{V1}/../../etc/passwd")
    yield of("encoded path tricks", b"{}", 404, "not answered here", "/%2e%2e/%2e%2e/etc/passwd")
    yield of("wrong method", b"{}", 405, "expected GET", f"{V1}/models")
    yield of("osam of a wrong type", {"model": 5}, 422, "model", "/api/generate")
    yield of(
        "marks of a wrong type",
        {"model": "x", "image": "", "params": 5},
        422,
        "params",
        "/v1/predict",
    )
    yield of("tasks of a wrong type", {"tasks": "x"}, 422, "tasks", "/predict")


def sentence(reply: Reply) -> str:
    """The one sentence of a refusal, in any dialect."""
    content = reply.json
    if "detail" in content:
        return str(content["detail"])
    error = content["error"]
    return str(error["message"] if isinstance(error, dict) else error)


def test_each_is_refused_with_a_sentence(server: Running, file: bytes) -> None:
    found = list(cases(file))
    assert len(found) >= 40
    for name, path, body, headers, status, words in found:
        answer = server.post(path, body, **headers)
        assert answer.status == status, (name, answer.status, answer.body[:300])
        said = sentence(answer)
        assert words in said, (name, said)
        assert said.endswith(".") and "\n" not in said and len(said) < 600, (name, said)
    assert server.post(f"{V1}/predict", predict(file, POINT)).status == 200


def test_masks_cannot_fill_the_memory(
    server: Running, file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None is decoded of too many, and none is kept in the size of the image."""
    decoded: list[Rle] = []
    shapes: list[tuple[int, ...]] = []
    decode, answer = Rle.decode, SAM.predict

    def noted_decode(rle: Rle) -> Any:
        decoded.append(rle)
        return decode(rle)

    def noted_answer(sam: SAM, *given: Any, prompts: Any, **more: Any) -> Any:
        shapes.extend(np.shape(prompt.mask) for prompt in prompts)
        return answer(sam, *given, prompts=prompts, **more)

    monkeypatch.setattr(Rle, "decode", noted_decode)
    monkeypatch.setattr(SAM, "predict", noted_answer)
    prompt = {"mask": {"size": [180, 240], "counts": [180 * 120, 180 * 120]}}
    refused = server.post(f"{V1}/predict", predict(file, [prompt] * 300))
    assert refused.status == 422 and decoded == []
    assert server.post(f"{V1}/predict", predict(file, [prompt] * 3)).status == 200
    assert len(decoded) == 3 and shapes == [(64, 64)] * 3


def raw(server: Running, sent: bytes, half_close: bool = False) -> bytes:
    """What comes back for some bytes until the server closes the connection."""
    with socket.create_connection(server.address, timeout=20) as connection:
        connection.sendall(sent)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        # A server that has not read everything resets the connection after its answer.
        with suppress(ConnectionResetError):
            while part := connection.recv(1 << 16):
                answer += part
    return answer


START = (
    b"POST /samdeploy/v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
)


@pytest.fixture
def hasty(start: Start) -> Iterator[Running]:
    """A server that waits half a second for a request."""
    with start(body_seconds=0.5) as running:
        yield running


def test_what_never_ends(hasty: Running) -> None:
    slow = raw(hasty, START + b"Content-Length: 100\r\n\r\n{")
    assert slow.startswith(b"HTTP/1.1 408 ") and b"send it faster." in slow
    # A connection without a request is closed, and does not count for ever.
    assert raw(hasty, b"GET / HTTP/1.1\r\nHost: localhost\r\n") == b""
    assert raw(hasty, b"") == b""
    assert hasty.get("/health").status == 200


def test_bytes_that_are_no_proper_request(server: Running) -> None:
    chunked = START + b"Transfer-Encoding: chunked\r\n\r\n" + b"1f4000\r\n" + bytes(0x1F4000)
    large = raw(server, chunked + b"\r\n1f4000\r\n" + bytes(0x1000))
    assert large.startswith(b"HTTP/1.1 413 ") and b"too large" in large
    for sent in (
        START + b"Content-Length: -5\r\n\r\n",
        START + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}",
        START + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/1.1\r\n\r\n",
    ):
        assert raw(server, sent, half_close=True).startswith(b"HTTP/1.1 4"), sent[:60]
    raw(server, b"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + b"a" * 200_000 + b"\r\n\r\n")
    # Gone before the end: there is nobody to answer.
    raw(server, START + b"Content-Length: 100\r\n\r\n{", half_close=True)
    assert server.get("/health").status == 200


def test_announced_size_is_refused_before_it_comes(server: Running) -> None:
    with socket.create_connection(server.address, timeout=20) as connection:
        connection.sendall(START + b"Content-Length: 999999999999\r\n\r\n")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 413 ")


def test_a_client_that_reads_nothing(start: Start) -> None:
    [script] = (page_folder() / "assets").glob("index-*.js")
    asked = f"GET /assets/{script.name} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    count = 30_000_000 // script.stat().st_size  # more than a system keeps for a connection
    for stops in (False, True):
        with start(body_seconds=1) as running, socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
            connection.settimeout(20)
            connection.connect(running.address)
            connection.sendall(asked * count)
            time.sleep(0.5)
            if stops:
                running.server.stop()
                running.server.wait(20)
                assert not running.server.runs
                continue
            while running.server._uvicorn.server_state.connections:  # not sent away yet
                time.sleep(0.05)
            received = 0
            with suppress(ConnectionResetError):
                while part := connection.recv(1 << 20):
                    received += len(part)
            assert received < count * script.stat().st_size
            assert running.get("/health").status == 200


def test_a_client_that_reads_slowly_gets_everything(start: Start) -> None:
    [script] = (page_folder() / "assets").glob("index-*.js")
    asked = f"GET /assets/{script.name} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    count = 40_000_000 // script.stat().st_size
    with start(body_seconds=2) as running, socket.create_connection(running.address) as connection:
        connection.settimeout(20)
        connection.sendall(asked * count)
        received, started = 0, time.monotonic()
        while received < count * script.stat().st_size:
            part = connection.recv(1 << 19)
            assert part
            received += len(part)
            time.sleep(0.08)
        assert time.monotonic() > started + 5


@pytest.mark.parametrize("settings, status", [({"max_mb": 1}, 413), ({"token": "secret"}, 401)])
def test_a_client_may_send_everything_before_it_reads(
    start: Start, settings: dict[str, Any], status: int
) -> None:
    size = 3_000_000
    with start(**settings) as running, socket.create_connection(running.address) as connection:
        connection.settimeout(20)
        connection.sendall(START + f"Content-Length: {size}\r\n\r\n".encode())
        connection.recv(1, socket.MSG_PEEK)  # the answer has come
        for _ in range(30):
            connection.sendall(bytes(size // 30))
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == status and json.loads(answer.read())["error"]
        # What followed the answer is no request of its own.
        if not answer.will_close:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")


def test_a_full_queue_sends_away(
    server: Running, file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns, free = Turns("model 'sam_tiny_onnx'", 1), Event()
    monkeypatch.setattr(server.service.model(), "turns", turns)
    with ThreadPoolExecutor(2) as clients:
        for _ in range(2):  # one is at work, and one waits
            clients.submit(lambda: asyncio.run(turns.take(free.wait)))
        while turns.waiting < 2:
            time.sleep(0.01)
        answer = server.post(f"{V1}/predict", predict(file, POINT))
        other = server.post(f"{V1}/predict", predict(file, POINT, model="small_onnx"))
        free.set()
    assert answer.status == 503 and int(answer.headers["retry-after"]) >= 1
    assert "is busy" in answer.json["error"]
    assert other.status == 200
    assert server.post(f"{V1}/predict", predict(file, POINT)).status == 200
    turns.close()


def test_bodies_cannot_fill_the_memory(
    server: Running, file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_connection(server.address, timeout=20) as held:
        held.sendall(START + b"Content-Length: 100\r\n\r\n{")
        while server.service.present < 1:
            time.sleep(0.01)
        monkeypatch.setattr(server.service, "most_present", 1)
        answer = server.post(f"{V1}/predict", predict(file, POINT))
        assert answer.status == 503 and answer.headers["retry-after"] == "1"
        assert server.get(f"{V1}/models").status == 200
    while server.service.present:
        time.sleep(0.01)
    assert server.post(f"{V1}/predict", predict(file, POINT)).status == 200
