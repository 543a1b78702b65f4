"""Who may use the server."""

from __future__ import annotations

import base64

import pytest

from samdeploy.errors import InputError
from samdeploy.serving.settings import ServerSettings
from tests.serving.conftest import Running, Start

pytestmark = pytest.mark.exporting

MODELS = "/samdeploy/v1/models"


@pytest.mark.parametrize("host", ["localhost", "localhost:81", "127.0.0.1:81", "[::1]:81", "[::1]"])
def test_names_of_this_machine(server: Running, host: str) -> None:
    assert server.get(MODELS, Host=host).status == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:80", "", "[::1", "a b"])
def test_a_name_that_could_mean_anything(server: Running, host: str) -> None:
    answer = server.get(MODELS, Host=host)
    assert answer.status == 403
    assert "hosts=NAME" in answer.json["error"]


def test_pages_of_other_origins(server: Running) -> None:
    own = server.url
    assert server.get(MODELS, Origin=own).status == 200
    for origin in (
        "https://evil.example",
        "null",
        "http://127.0.0.1:1",
        own.replace("http", "https"),
    ):
        for answer in (
            server.get(MODELS, Origin=origin),
            server.post("/predict", {}, Origin=origin),
            server.ask("OPTIONS", MODELS, Origin=origin),
        ):
            assert answer.status == 403
            assert "access-control-allow-origin" not in answer.headers
    assert server.get(MODELS).headers["cross-origin-resource-policy"] == "same-origin"
    assert server.get("/nothing").headers["x-content-type-options"] == "nosniff"


def test_a_permitted_page(start: Start) -> None:
    with start(origins=("https://tool.example",), token="s") as server:
        asked = {"Origin": "https://tool.example", "Access_Control_Request_Method": "POST"}
        before = server.ask("OPTIONS", MODELS, **asked)
        assert before.status == 200
        assert before.headers["access-control-allow-origin"] == "https://tool.example"
        assert "authorization" in before.headers["access-control-allow-headers"]
        after = server.get(MODELS, Origin="https://tool.example", Authorization="Bearer s")
        assert after.status == 200
        assert after.headers["access-control-allow-origin"] == "https://tool.example"
        assert server.get(MODELS, Origin="https://other.example").status == 403


def test_a_further_name(start: Start) -> None:
    with start(hosts=("host.docker.internal",)) as server:
        assert server.get(MODELS, Host="host.docker.internal:8000").status == 200
        assert server.get(MODELS, Host="other.internal").status == 403


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anybody:{password}".encode()).decode()


def test_the_token(start: Start) -> None:
    with start(token="p\u00e4ss") as server:
        for path in (MODELS, "/", "/openapi.json", "/v1/models", "/nothing"):
            answer = server.get(path)
            assert answer.status == 401
            assert answer.headers["www-authenticate"].startswith("Basic")
        assert server.get("/health").status == 200
        for written in ("p\u00e4ss".encode(), "p\u00e4ss".encode("latin-1")):
            header = written.decode("latin-1")  # the client sends these bytes
            password = base64.b64encode(b"anybody:" + written).decode()
            for sent in (f"Bearer {header}", f"Basic {password}"):
                assert server.get(MODELS, Authorization=sent).status == 200
            assert server.get(MODELS, Token=header).status == 200
        for wrong in ("Bearer ", "Bearer x", basic("x"), "Basic %%%", "Basic " + "AA" * 9, "p"):
            assert server.get(MODELS, Authorization=wrong).status == 401
    with start(token="secret") as server:
        for right in ({"Authorization": "Bearer secret"}, {"Authorization": "Token secret"}):
            assert server.get(MODELS, **right).status == 200
        assert server.get("/v1/models", Token="secret").status == 200


def test_refusals_are_in_the_words_of_the_route(start: Start) -> None:
    with start(token="secret") as server:
        for headers, words in (({}, "the token"), ({"Host": "evil.example"}, "hosts=NAME")):
            assert words in server.post("/api/generate", {}, **headers).json["detail"]
            assert words in server.post("/predict", {}, **headers).json["error"]
            for path in ("/v1/models", "/v1/models/small_onnx/info"):
                told = server.get(path, **headers).json
                assert told["success"] is False and words in told["error"]["message"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"port": 70000}, "port=70000"),
        ({"token": " "}, "token is empty"),
        ({"token": "secret "}, "blank at an end"),
        ({"token": "sec\nret"}, "not printable"),
        ({"token": "sec\udc80ret"}, "not printable"),
        ({"origins": ("example.org",)}, "https://example.org"),
        ({"origins": ("https://example.org/page",)}, "https://example.org"),
        ({"origins": ("http://[::1",)}, "https://example.org"),
        ({"label_studio": "localhost:8080"}, "http://localhost:8080"),
        ({"label_studio": "http://user@host"}, "http://localhost:8080"),
        ({"label_studio_token": "x"}, "without label_studio"),
        ({"queue": 0}, "queue=0"),
        ({"body_seconds": float("nan")}, "body_seconds=nan"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        ServerSettings(**settings)  # type: ignore[arg-type]
