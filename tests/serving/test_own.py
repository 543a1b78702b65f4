"""Our own routes: the answers of ``SAM``, in every form."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from openapi_spec_validator import validate

from samdeploy import SAM, Prompt
from samdeploy.masks.rle import Rle
from samdeploy.scenes import Scene, generate_scene
from samdeploy.serving.application import ENDPOINTS
from samdeploy.web.page import page_folder
from tests.serving.client import mask_of, png, text
from tests.serving.conftest import Running, Start

pytestmark = pytest.mark.exporting

V1 = "/samdeploy/v1"
FEW = {"points_stride": 4, "conf_thres": 0.5, "stability_score_thresh": 0.5}


def test_models_and_limits(server: Running, sam: SAM) -> None:
    answer = server.get(f"{V1}/models").ok()
    assert [model["name"] for model in answer["models"]] == ["sam_tiny_onnx", "small_onnx"]
    assert answer["models"][0]["image_size"] == 256
    assert answer["models"][0]["architecture"] == sam.info(verbose=False)["architecture"]
    assert answer["limits"]["pixels"] == 1_000_000


def test_an_image_is_encoded_once(server: Running) -> None:
    file = png(generate_scene(77, (50, 60)).image)
    path = f"{V1}/images?model=small_onnx"
    first = server.post(path, file, Content_Type="image/png").ok()
    again = server.post(f"{V1}/images", {"image": text(file), "model": "small_onnx"}).ok()
    assert first["size"] == [50, 60] and not first["known"] and again["known"]
    assert again["image_id"] == first["image_id"]
    by_url = {"image": f"data:image/png;base64,{text(file)}", "model": "small_onnx"}
    assert server.post(f"{V1}/images", by_url).ok()["known"]
    assert not server.post(f"{V1}/images", file, Content_Type="image/png").ok()["known"]


PROMPTS: list[dict[str, Any]] = [
    {"points": [[120, 90]]},
    {"points": [[120, 90], [10, 10]], "labels": [1, 0]},
    {"box": [60, 40, 180, 140]},
    {"points": [[100, 80]], "box": [60, 40, 180, 140]},
]


@pytest.mark.parametrize("multimask", [False, True])
def test_prompts(server: Running, sam: SAM, scene: Scene, file: bytes, multimask: bool) -> None:
    inside = scene.masks[0]
    rle = Rle.encode(inside)
    written = [*PROMPTS, {"mask": rle.to_coco()}]
    written += [{"mask": {"size": [180, 240], "counts": rle.counts.tolist()}}]
    prompts = [Prompt(**each) for each in PROMPTS] + [Prompt(mask=inside)] * 2
    expected = sam.predict(scene.image, prompts=prompts, multimask=multimask, channel_order="rgb")
    answer = server.post(
        f"{V1}/predict", {"image": text(file), "prompts": written, "multimask": multimask}
    ).ok()
    found = answer["masks"]
    assert answer["size"] == [180, 240] and len(found) == len(expected)
    assert [mask["rle"] for mask in found] == expected.to_rle()
    assert [mask["prompt"] for mask in found] == expected.prompt_index.tolist()
    assert [mask["area"] for mask in found] == expected.areas.tolist()
    assert np.allclose([mask["score"] for mask in found], expected.scores)
    assert [mask["box"] for mask in found] == expected.boxes.tolist()


def test_every_form_is_the_same_mask(server: Running, sam: SAM, scene: Scene, file: bytes) -> None:
    kept = server.post(f"{V1}/images", file, Content_Type="application/octet-stream").ok()
    expected = sam.predict(scene.image, points=[120, 90], channel_order="rgb")
    asked = {"image_id": kept["image_id"], "prompts": [{"points": [[120, 90]]}]}
    [drawn] = server.post(f"{V1}/predict", asked | {"masks": "png"}).ok()["masks"]
    assert (mask_of(drawn["png"]) == expected.data[0]).all()
    [outlined] = server.post(f"{V1}/predict", asked | {"masks": "polygons"}).ok()["masks"]
    [parts] = expected.to_polygons()
    assert [part["exterior"] for part in outlined["polygons"]] == [
        part.exterior.tolist() for part in parts
    ]
    assert "rle" not in outlined


def test_labels(server: Running, sam: SAM, scene: Scene, file: bytes) -> None:
    expected = sam.predict(scene.image, points=[[120, 90], [40, 40]], channel_order="rgb")
    asked = {"image": text(file), "prompts": [{"points": [[120, 90]]}, {"points": [[40, 40]]}]}
    named = {"file_name": "a.png", "category": "thing"}
    answer = server.post(f"{V1}/predict", asked | {"labels": "yolo"}).ok()
    assert answer["yolo"].splitlines() == expected.to_yolo()
    coco = server.post(f"{V1}/predict", asked | {"labels": "coco"} | named).ok()["coco"]
    assert coco["images"] == [{"id": 1, "file_name": "a.png", "width": 240, "height": 180}]
    assert coco["categories"] == [{"id": 1, "name": "thing"}]
    assert [each["segmentation"] for each in coco["annotations"]] == expected.to_rle()


def test_the_whole_image(server: Running, sam: SAM, scene: Scene, file: bytes) -> None:
    expected = sam.generate(scene.image, channel_order="rgb", **FEW)
    answer = server.post(f"{V1}/generate", {"image": text(file), "settings": FEW}).ok()
    assert len(expected) > 2
    assert [mask["rle"] for mask in answer["masks"]] == expected.to_rle()
    known = expected.stability
    assert known is not None
    assert np.allclose([mask["stability"] for mask in answer["masks"]], known)


def test_what_is_kept_is_bounded(start: Start, file: bytes, scene: Scene) -> None:
    with start(cache_mb=1) as server:
        asked = {"model": "sam_tiny_onnx"}
        first = server.post(f"{V1}/images", asked | {"image": text(file)}).ok()["image_id"]
        store = server.service.store
        assert 0 < store.bytes <= 1_000_000 or len(store) == 0
        gone = server.post(f"{V1}/predict", {"image_id": first, "prompts": [{"points": [[9, 9]]}]})
        assert gone.status == (404 if len(store) == 0 else 200)


def test_the_document_is_valid_and_whole(server: Running) -> None:
    document = server.get("/openapi.json").ok()
    validate(document)
    described = {
        (method.upper(), path) for path, item in document["paths"].items() for method in item
    }
    assert described == {(endpoint.method, endpoint.path) for endpoint in ENDPOINTS}
    wanted = document["paths"][f"{V1}/predict"]["post"]["requestBody"]["content"]
    assert wanted["application/json"]["schema"] == {"$ref": "#/components/schemas/PredictRequest"}
    assert {"424", "500"} <= set(document["paths"]["/predict"]["post"]["responses"])
    assert "prompts" in document["components"]["schemas"]["PredictRequest"]["required"]


def test_the_page(server: Running) -> None:
    page = server.get("/")
    assert page.status == 200 and page.body == (page_folder() / "index.html").read_bytes()
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["cross-origin-opener-policy"] == "same-origin"
    assert page.headers["cross-origin-embedder-policy"] == "require-corp"
    [script] = re.findall(r'src="\./(assets/[\w.-]+\.js)"', page.body.decode())
    assert server.get(f"/{script}").headers["content-type"].startswith("text/javascript")
    policy = page.headers["content-security-policy"]
    assert f'content="{policy}"' in page.body.decode()
    for worker in (page_folder() / "assets").glob("worker-*.js"):
        answer = server.get(f"/assets/{worker.name}")
        assert answer.headers["content-security-policy"] == policy
    site = server.get("/site.json").ok()
    assert site == {"schema_version": 1, "name": "sam_tiny_onnx", "server": "samdeploy/v1/"}
    assert server.get(f"/{site['server']}models").status == 200
    for path in ("/assets/", "/_headers", "/assets/../index.html", "/%2e%2e/__init__.py"):
        assert server.get(path).status == 404
