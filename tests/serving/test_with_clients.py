"""The tools' own packages, where they are installed: they read what the server answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from samdeploy.masks.masks import Masks
from samdeploy.scenes import Scene
from samdeploy.serving.brush import brush_rle
from samdeploy.serving.labelme import LISTED, use_server
from tests.serving.brush_reader import read_brush
from tests.serving.client import text
from tests.serving.conftest import Running, Start
from tests.serving.test_tools import CONFIG, KEYPOINT, RECTANGLE, studio
from tests.serving.test_tools import osam as osam_request


@pytest.fixture
def osam(monkeypatch: pytest.MonkeyPatch) -> Any:
    found = pytest.importorskip("osam", reason="pip install osam")
    before = list(found.apis.registered_model_types)
    monkeypatch.setattr(found.apis, "registered_model_types", before)
    return found


def test_osam_reads_the_answer_and_we_its_request(
    osam: Any, server: Running, clicked: Masks, scene: Scene, file: bytes
) -> None:
    prompt = osam.types.Prompt(points=np.array([[120.0, 90]]), point_labels=np.array([1]))
    request = osam.types.GenerateRequest(model="sam_tiny_onnx", image=scene.image, prompt=prompt)
    assert osam.types.GenerateRequest(**osam_request(file, [[120, 90]], [1])).image is not None
    sent = {"model": request.model, "image": text(file), "prompt": prompt.model_dump()}
    answer = server.post("/api/generate", sent).ok()
    [given] = answer.pop("annotations")
    assert answer == osam.types.GenerateResponse(model="sam_tiny_onnx", annotations=[]).model_dump(
        exclude={"annotations"}
    )
    assert given.keys() == osam.types.Annotation().model_dump().keys()
    image = osam._json.image_b64data_to_ndarray(given.pop("mask"))
    read = osam.types.Annotation(**given, mask=image > 0)  # checks mask against box
    assert read.mask.sum() == clicked.areas[0]


def test_labelme_asks_the_server(
    osam: Any, start: Start, clicked: Masks, boxed: Masks, scene: Scene
) -> None:
    with start(token="secret") as server:
        use_server(server.url, "sam_tiny_onnx", token="secret")
        model_type = osam.apis.get_model_type_by_name("sam2:latest")
        assert model_type.get_size() is not None  # there is nothing to download
        model = model_type()
        with pytest.raises(NotImplementedError):
            model.encode_image(scene.image)
        for points, labels, expected in (
            ([[120.0, 90]], [1], clicked),
            ([[60.0, 45], [180, 135]], [2, 3], boxed),
        ):
            prompt = osam.types.Prompt(points=np.array(points), point_labels=np.array(labels))
            request = osam.types.GenerateRequest(model=model.name, image=scene.image, prompt=prompt)
            [found] = model.generate(request).annotations
            box = found.bounding_box
            assert [box.xmin, box.ymin, box.xmax, box.ymax] == expected.boxes[0].tolist()
            part = expected.data[0, box.ymin : box.ymax + 1, box.xmin : box.xmax + 1]
            assert (found.mask == part).all()
        with pytest.raises(ValueError, match="takes no texts"):
            model.generate(
                osam.types.GenerateRequest(
                    model=model.name, image=scene.image, prompt=osam.types.Prompt(texts=["dog"])
                )
            )
    assert set(LISTED) <= {each.name for each in osam.apis.registered_model_types}


def test_label_studio_reads_our_run_lengths_and_we_its() -> None:
    brush = pytest.importorskip("label_studio_sdk.converter.brush", reason="label-studio-sdk")
    generator = np.random.default_rng(5)
    for mask in (generator.random((37, 21)) > 0.7, np.ones((300, 300), bool)):
        decoded = np.asarray(brush.decode_rle(brush_rle(mask))).reshape(*mask.shape, 4)
        assert (decoded == np.where(mask, 255, 0)[..., None]).all()
        small = mask[:20, :21]
        written = brush.mask2rle(small.astype(np.uint8) * 255)
        assert (read_brush(written, small.shape) == small).all()


@pytest.mark.parametrize("kind", ["BrushLabels", "PolygonLabels", "RectangleLabels"])
def test_label_studio_takes_our_regions(server: Running, file: bytes, kind: str) -> None:
    interface = pytest.importorskip("label_studio_sdk.label_interface", reason="label-studio-sdk")
    objects = pytest.importorskip("label_studio_sdk.label_interface.objects")
    label_interface = interface.LabelInterface(CONFIG.format(kind=kind))
    for region in (KEYPOINT, RECTANGLE):
        request = studio(f"data:image/png;base64,{text(file)}", region, kind=kind)
        [prediction] = server.post("/predict", request).ok()["results"]
        read = objects.PredictionValue(**prediction)
        assert read.model_version == "sam_tiny_onnx" and len(read.result) == len(
            prediction["result"]
        )
        assert label_interface.validate_prediction(prediction)
