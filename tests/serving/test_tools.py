"""Routes of labelling tools: requests and answers as their sources have them."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar
from urllib.error import HTTPError

import cv2
import numpy as np
import pytest

from samdeploy import SAM
from samdeploy.masks.masks import Masks
from samdeploy.scenes import Scene
from samdeploy.serving import labelme
from samdeploy.serving.brush import brush_rle
from samdeploy.serving.service import Service
from tests.serving.brush_reader import read_brush
from tests.serving.client import mask_of, text
from tests.serving.conftest import Running, Start

pytestmark = pytest.mark.exporting


def osam(file: bytes, points: Any, labels: Any, **more: Any) -> dict[str, Any]:
    prompt = {
        "points": points, "point_labels": labels, "texts": None, "iou_threshold": 0.5,
        "score_threshold": 0.1, "max_annotations": 100,
    }  # fmt: skip
    return {
        "model": "sam_tiny_onnx", "image_embedding": None, "image": text(file), "prompt": prompt,
        "annotations": None, **more,
    }  # fmt: skip


def test_osam_points_and_boxes(server: Running, clicked: Masks, boxed: Masks, file: bytes) -> None:
    for request, expected in (
        (osam(file, [[120, 90]], [1]), clicked),
        (osam(file, [[120, 90]], [1], model="sam_tiny_onnx:latest"), clicked),
        (osam(file, [[60, 45], [180, 135]], [2, 3]), boxed),
    ):
        answer = server.post("/api/generate", request).ok()
        assert answer.keys() == {"model", "image_embedding", "annotations"}
        assert answer["model"] == request["model"] and answer["image_embedding"] is None
        [annotation] = answer["annotations"]
        x1, y1, x2, y2 = expected.boxes[0].astype(int).tolist()
        assert annotation["bounding_box"] == {"xmin": x1, "ymin": y1, "xmax": x2, "ymax": y2}
        part = expected.data[0, y1 : y2 + 1, x1 : x2 + 1]
        assert (mask_of(annotation["mask"]) == part).all()
        assert annotation["text"] is None
        assert annotation["score"] == pytest.approx(float(expected.scores[0]))


def test_osam_without_a_prompt_takes_the_middle(
    server: Running, clicked: Masks, file: bytes
) -> None:
    request = {"model": "sam_tiny_onnx", "image": text(file)}
    [annotation] = server.post("/api/generate", request).ok()["annotations"]
    assert mask_of(annotation["mask"]).sum() == clicked.areas[0]
    x1, y1, x2, y2 = clicked.boxes[0].astype(int).tolist()
    assert annotation["bounding_box"] == {"xmin": x1, "ymin": y1, "xmax": x2, "ymax": y2}


def test_osam_says_what_it_cannot(server: Running, file: bytes) -> None:
    for change, words in (
        ({"prompt": {"texts": ["a dog"]}}, "takes no texts"),
        ({"image": None, "image_embedding": {"original_height": 1}}, "send the image"),
        ({"model": "sam2:latest"}, "no model"),
        ({"prompt": {"points": [[1, 1]], "point_labels": [2]}}, "corners of a box"),
        ({"prompt": {"points": [[1, 1]], "point_labels": [1, 1]}}, "give one each"),
    ):
        answer = server.post("/api/generate", osam(file, [[9, 9]], [1]) | change)
        assert 400 <= answer.status < 500
        assert words in answer.json["detail"]


def test_labelme_hears_why_it_was_refused(start: Start) -> None:
    with start(token="secret") as server:
        for path, token, words in (
            ("/api/generate", None, "the token is missing"),
            ("/api/generate", "secret", "the request cannot be read"),
            ("/api/nothing", "secret", "is not answered here"),
        ):
            with pytest.raises(ValueError, match=words):
                labelme._ask(server.url + path, [], token)
    of_a_proxy = HTTPError("http://x", 502, "Bad Gateway", Message(), io.BytesIO(b"<html>"))
    assert labelme._sentence(of_a_proxy) == "the server answered 502 Bad Gateway."


def x_any_labeling(file: bytes, marks: Any, **params: Any) -> dict[str, Any]:
    """As `RemoteServer.predict_shapes` of X-AnyLabeling builds it."""
    sent = {"conf_threshold": 0.0, "iou_threshold": 0.0, "epsilon_factor": 0.001} | params
    if marks:
        sent["marks"] = marks
    return {
        "model": "sam_tiny_onnx", "image": f"data:image/png;base64,{text(file)}", "params": sent
    }  # fmt: skip


SHAPE = {
    "label", "shape_type", "points", "score", "attributes", "description", "difficult",
    "direction", "flags", "group_id", "kie_linking",
}  # fmt: skip


def test_x_any_labeling_lists_models(server: Running) -> None:
    listed = server.get("/v1/models", Token="").ok()
    assert listed["success"] is True
    model = listed["data"]["sam_tiny_onnx"]
    assert model["display_name"] == "sam_tiny_onnx"
    assert {"name": "button_add_point", "value": None} in model["widgets"]
    assert all(widget.keys() == {"name", "value"} for widget in model["widgets"])
    one = server.get("/v1/models/small_onnx/info").ok()
    assert one["data"]["model_id"] == "small_onnx"
    health = server.get("/health").ok()
    assert health["models_loaded"] == 2 and health["timestamp"].endswith("+00:00")


def test_x_any_labeling_marks(server: Running, clicked: Masks, boxed: Masks, file: bytes) -> None:
    for marks, expected in (
        ([{"type": "point", "data": [120, 90], "label": 1}], clicked),
        ([{"type": "rectangle", "data": [60, 45, 180, 135], "label": 1}], boxed),
    ):
        answer = server.post("/v1/predict", x_any_labeling(file, marks, epsilon_factor=0)).ok()
        data = answer["data"]
        assert answer["success"] is True
        assert data["description"] == "" and data["replace"] is False
        drawn = np.zeros((361, 481), np.uint8)
        for shape in data["shapes"]:
            assert shape.keys() == SHAPE
            assert shape["label"] == "AUTOLABEL_OBJECT" and shape["shape_type"] == "polygon"
            assert shape["points"][0] == shape["points"][-1] and 0 <= shape["score"] <= 1
            assert len(data["shapes"]) == 1 or shape["group_id"] == 1
            # Outlines run along the edges of pixels: drawn at twice the size, a pixel is there
            # whose middle is inside.
            cv2.fillPoly(drawn, [2 * np.array(shape["points"], np.int32)], 1)
        assert (drawn[1::2, 1::2].astype(bool) == expected.data[0]).all()


def test_x_any_labeling_several_rectangles_and_boxes(server: Running, file: bytes) -> None:
    marks = [
        {"type": "rectangle", "data": [60, 45, 180, 135], "label": 1},
        {"type": "rectangle", "data": [10, 10, 60, 60], "label": 1},
    ]
    request = x_any_labeling(file, marks, show_boxes=True, show_masks=False)
    shapes = server.post("/v1/predict", request).ok()["data"]["shapes"]
    assert [shape["shape_type"] for shape in shapes] == ["rectangle"] * 2
    assert all(len(shape["points"]) == 4 for shape in shapes)


def test_x_any_labeling_whole_image(
    server: Running, sam: SAM, scene: Scene, file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {"points_stride": 4, "conf_thres": 0.5, "stability_score_thresh": 0.5}
    service = server.service

    async def generate(model: Any, image: Any, settings: Any, finish: Any) -> Any:
        return await Service.generate(service, model, image, settings | few, finish)

    monkeypatch.setattr(service, "generate", generate)
    expected = sam.generate(scene.image, channel_order="rgb", **few)
    data = server.post("/v1/predict", x_any_labeling(file, [])).ok()["data"]
    assert "replace" not in data
    parts = sum(len(parts) for parts in expected.to_polygons())
    assert len(data["shapes"]) == parts > len(expected) / 2 > 1


def test_x_any_labeling_says_what_it_cannot(server: Running, file: bytes) -> None:
    negative = [{"type": "rectangle", "data": [1, 1, 9, 9], "label": 0}]
    mixed = [{"type": "rectangle", "data": [1, 1, 9, 9]}] * 2 + [{"type": "point", "data": [2, 2]}]
    for request, code, words in (
        (x_any_labeling(file, [], text_prompt="a dog"), "INVALID_REQUEST", "takes no text"),
        (x_any_labeling(file, negative), "INVALID_REQUEST", "background"),
        (x_any_labeling(file, mixed), "INVALID_REQUEST", "one rectangle"),
        (x_any_labeling(file, [{"type": "point", "data": [1]}]), "INVALID_REQUEST", "[x, y]"),
        ({**x_any_labeling(file, []), "model": "x"}, "MODEL_NOT_FOUND", "no model"),
    ):
        answer = server.post("/v1/predict", request)
        assert 400 <= answer.status < 500
        assert answer.json["success"] is False
        assert answer.json["error"]["code"] == code and words in answer.json["error"]["message"]


CONFIG = """
<View>
  <Image name="image" value="$photo" zoom="true"/>
  <{kind} name="tag" toName="image"><Label value="Banana"/><Label value="Orange"/></{kind}>
  <KeyPointLabels name="tag2" toName="image" smart="true"><Label value="Banana"/></KeyPointLabels>
</View>
"""

KEYPOINT = {
    "original_width": 240, "original_height": 180, "image_rotation": 0,
    "value": {
        "x": 50.0, "y": 50.0, "width": 0.3, "labels": ["Banana"], "keypointlabels": ["Banana"]
    },
    "is_positive": True, "id": "fBWv1t0S2L", "from_name": "tag2", "to_name": "image",
    "type": "keypointlabels", "origin": "manual",
}  # fmt: skip
RECTANGLE = {
    "original_width": 240, "original_height": 180, "type": "rectanglelabels",
    "value": {"x": 25, "y": 25, "width": 50, "height": 50, "rectanglelabels": ["Orange"]},
}  # fmt: skip


def studio(image: str, *regions: Any, kind: str = "BrushLabels") -> dict[str, Any]:
    """As `MLApi.make_predictions` of Label Studio builds it."""
    return {
        "tasks": [{"id": 7, "data": {"photo": image}, "annotations": [], "predictions": []}],
        "model_version": "sam_tiny_onnx", "project": "1.1700000000",
        "label_config": CONFIG.format(kind=kind),
        "params": {"login": None, "password": None, "context": {"result": list(regions)}},
    }  # fmt: skip


@pytest.fixture(scope="module")
def data_url(file: bytes) -> str:
    return f"data:image/png;base64,{text(file)}"


def test_label_studio_brush(server: Running, clicked: Masks, boxed: Masks, data_url: str) -> None:
    for region, expected, label in ((KEYPOINT, clicked, "Banana"), (RECTANGLE, boxed, "Orange")):
        [prediction] = server.post("/predict", studio(data_url, region)).ok()["results"]
        assert prediction.keys() == {"result", "model_version", "score"}
        assert prediction["model_version"] == "sam_tiny_onnx"
        [found] = prediction["result"]
        value = found.pop("value")
        assert value.keys() == {"format", "rle", "brushlabels"}
        assert value["format"] == "rle" and value["brushlabels"] == [label]
        assert (read_brush(value["rle"], (180, 240)) == expected.data[0]).all()
        assert found.pop("id") and found.pop("score") == pytest.approx(float(expected.scores[0]))
        assert found == {
            "from_name": "tag", "to_name": "image", "original_width": 240, "original_height": 180,
            "image_rotation": 0, "type": "brushlabels", "readonly": False,
        }  # fmt: skip


def test_label_studio_points_and_a_rectangle_are_one_prompt(
    server: Running, sam: SAM, scene: Scene, data_url: str
) -> None:
    background = KEYPOINT | {"is_positive": False, "value": {"x": 5, "y": 5}}
    request = studio(data_url, KEYPOINT, background, RECTANGLE)
    [prediction] = server.post("/predict", request).ok()["results"]
    expected = sam.predict(
        scene.image, points=[[[120, 90], [12, 9]]], labels=[[1, 0]], bboxes=[60, 45, 180, 135],
        channel_order="rgb",
    )  # fmt: skip
    found = read_brush(prediction["result"][0]["value"]["rle"], (180, 240))
    assert (found == expected.data[0]).all()


def test_label_studio_polygons_and_rectangles(
    server: Running, clicked: Masks, data_url: str
) -> None:
    asked = studio(data_url, KEYPOINT, kind="PolygonLabels")
    [prediction] = server.post("/predict", asked).ok()["results"]
    for region in prediction["result"]:
        assert region["type"] == "polygonlabels"
        assert region["value"]["polygonlabels"] == ["Banana"]
        points = np.array(region["value"]["points"])
        assert points.shape[1] == 2 and ((points >= 0) & (points <= 100)).all()
    asked = studio(data_url, KEYPOINT, kind="RectangleLabels")
    [prediction] = server.post("/predict", asked).ok()["results"]
    [region] = prediction["result"]
    value = region["value"]
    x1, y1, x2, y2 = clicked.boxes[0]
    assert value["x"] == pytest.approx(x1 / 2.4) and value["y"] == pytest.approx(y1 / 1.8)
    assert value["width"] == pytest.approx((x2 + 1 - x1) / 2.4)
    assert value["height"] == pytest.approx((y2 + 1 - y1) / 1.8)
    assert region["type"] == "rectanglelabels" and value["rotation"] == 0


def test_label_studio_the_rest(server: Running, data_url: str) -> None:
    assert server.post("/predict", studio(data_url)).ok() == {"results": []}
    without = studio(data_url) | {"params": {"context": None}}
    assert server.post("/predict", without).ok() == {"results": []}
    schema = CONFIG.format(kind="BrushLabels")
    set_up = {"project": "1.17", "schema": schema, "hostname": "http://x", "access_token": "t"}
    assert server.post("/setup", set_up).ok() == {"model_version": "sam_tiny_onnx"}
    assert server.get("/versions").ok() == {"versions": ["sam_tiny_onnx", "small_onnx"]}
    assert server.post("/webhook", {"action": "ANNOTATION_CREATED", "project": {}}).ok(201) == {
        "status": "ok"
    }
    assert server.get("/health").ok()["status"] == "UP"


def test_label_studio_says_what_it_cannot(server: Running, data_url: str) -> None:
    brush = {"type": "brushlabels", "value": {"rle": [1]}}
    bomb = '<!DOCTYPE x [<!ENTITY a "aa">]><View>&a;</View>'
    for request, words in (
        (studio("http://example.org/a.png", KEYPOINT), "label_studio=URL"),
        (studio("/data/upload/1/a.png", KEYPOINT), "label_studio=URL"),
        (studio("file:///etc/passwd", KEYPOINT), "label_studio=URL"),
        (studio(data_url, KEYPOINT, kind="EllipseLabels"), "BrushLabels"),
        (studio(data_url, brush), "smart keypoints"),
        (studio(data_url, {"type": "keypointlabels", "value": {"x": "5"}}), "in percent"),
        (studio(data_url, KEYPOINT) | {"label_config": bomb}, "document type"),
        (studio(data_url, KEYPOINT) | {"label_config": "<View>"}, "no XML"),
    ):
        answer = server.post("/predict", request)
        assert 400 <= answer.status < 500
        assert words in answer.json["error"]


class Studio(BaseHTTPRequestHandler):
    """A Label Studio that has one image, and two ways to lead somewhere else."""

    content = b""
    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["Authorization"]))
        if self.path == "/data/elsewhere.png":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.2/secret.png")
            self.end_headers()
            return
        paths = "/data/upload/a.png", "/data/upload/caf%C3%A9%20(1).png"
        known = self.path in paths and self.headers["Authorization"] == self.wanted
        self.send_response(200 if known else 401)
        self.end_headers()
        self.wfile.write(self.content if known else b"")

    def do_POST(self) -> None:
        given = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"access": "short"}' if given == b'{"refresh": "a.b.c"}' else b"{}")

    wanted = "Token secret"

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


@pytest.fixture
def label_studio(file: bytes) -> Iterator[str]:
    Studio.content, Studio.wanted = file, "Token secret"
    Studio.asked.clear()
    with HTTPServer(("127.0.0.1", 0), Studio) as hosted:
        thread = threading.Thread(target=hosted.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{hosted.server_port}"
        hosted.shutdown()
        thread.join()


def test_images_come_from_the_label_studio_that_was_named(
    start: Start, label_studio: str, clicked: Masks
) -> None:
    settings = {"label_studio": label_studio, "label_studio_token": "secret"}
    with start(**settings) as server:
        for image in ("/data/upload/a.png", f"{label_studio}/data/upload/a.png"):
            [prediction] = server.post("/predict", studio(image, KEYPOINT)).ok()["results"]
            found = read_brush(prediction["result"][0]["value"]["rle"], (180, 240))
            assert (found == clicked.data[0]).all()
        assert Studio.asked == [("/data/upload/a.png", "Token secret")]  # the second is kept
        for image, status, words in (
            ("http://127.0.0.2/a.png", 422, "from there alone"),
            (f"http://127.0.0.1@evil{label_studio[16:]}/a.png", 422, "from there alone"),
            ("s3://bucket/a.png", 422, "from there alone"),
            ("file:///etc/passwd", 422, "from there alone"),
            ("//127.0.0.2/a.png", 422, "from there alone"),
            ("/data/elsewhere.png", 424, "302"),
            ("/data/none.png", 424, "401"),
        ):
            answer = server.post("/predict", studio(image, KEYPOINT))
            assert answer.status == status, image
            assert words in answer.json["error"]


def test_names_of_images_may_have_any_letters(start: Start, label_studio: str) -> None:
    with start(label_studio=label_studio, label_studio_token="secret") as server:
        for image in ("/data/upload/caf\u00e9 (1).png", "/data/upload/caf%C3%A9%20(1).png"):
            assert server.post("/predict", studio(image, KEYPOINT)).ok()["results"]
    assert len(Studio.asked) == 1


def test_an_image_is_fetched_again_that_went_while_its_request_waited(
    start: Start, label_studio: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = studio("/data/upload/a.png", KEYPOINT)
    with start(label_studio=label_studio, label_studio_token="secret") as server:
        store = server.service.store
        get, looks = store.get, 0

        def get_until_its_turn(key: Any) -> Any:
            nonlocal looks
            looks += 1
            if looks == 2:  # the first is when the request came
                store._kept.clear()
            return get(key)

        server.post("/predict", asked).ok()
        monkeypatch.setattr(store, "get", get_until_its_turn)
        assert server.post("/predict", asked).ok()["results"]
    assert len(Studio.asked) == 2


def test_a_personal_access_token_is_renewed(
    start: Start, label_studio: str, clicked: Masks
) -> None:
    Studio.wanted = "Bearer short"
    with start(label_studio=label_studio, label_studio_token="a.b.c") as server:
        answer = server.post("/predict", studio("/data/upload/a.png", KEYPOINT)).ok()
    assert len(answer["results"]) == 1


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (40, 7), (300, 300)])
def test_brush_run_lengths(size: tuple[int, int]) -> None:
    generator = np.random.default_rng(3)
    for mask in (
        generator.random(size) > 0.5,
        np.zeros(size, bool),
        np.ones(size, bool),  # more than a block can say
        np.indices(size).sum(axis=0) % 7 > 3,
    ):
        written = brush_rle(mask)
        assert all(isinstance(byte, int) and 0 <= byte < 256 for byte in written)
        assert (read_brush(written, size) == mask).all()
