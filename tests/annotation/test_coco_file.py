"""COCO files as different tools write them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samdeploy import InputError
from samdeploy.annotation.coco_file import CocoBoxes
from samdeploy.masks.rle import Rle

IMAGES = [Path("set/a.png"), Path("set/b.png")]
PIXELS = np.zeros((240, 320, 3), np.uint8)
BOX = [38.4, 48, 128, 144]  # x1 y1 x2 y2 of the annotation below


def content(**annotation: Any) -> dict[str, Any]:
    """Two images and an annotation of the first; ``...`` leaves a field out."""
    one = {
        "id": 1, "image_id": 1, "category_id": 1, "bbox": [38.4, 48, 89.6, 96], "iscrowd": 0,
        "segmentation": [[38, 48, 128, 48, 128, 144]], **annotation,
    }  # fmt: skip
    return {
        "images": [
            {"id": index, "width": 320, "height": 240, "file_name": f"{name}.png"}
            for index, name in ((1, "a"), (2, "b"))
        ],
        "annotations": [{k: v for k, v in one.items() if v is not ...}],
        "categories": [{"id": 1, "name": "disc"}],
    }


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., CocoBoxes]:
    def call(value: Any, encoding: str = "utf-8", images: Any = IMAGES) -> CocoBoxes:
        path = tmp_path / "boxes.json"
        text = value if isinstance(value, str) else json.dumps(value)
        path.write_text(text, encoding=encoding)
        return CocoBoxes(path, images, 1.0)

    return call


def found(boxes: CocoBoxes) -> list[list[float]]:
    return boxes.find(IMAGES[0], PIXELS).boxes.astype(float).round(2).tolist()


@pytest.mark.parametrize(
    "annotation",
    [
        {"iscrowd": False},
        {"iscrowd": None},
        {"iscrowd": ...},
        {"iscrowd": 0.0},
        {"score": None},
        {"score": 1},
        {"id": "x7"},
        {"id": None},
        {"segmentation": None},
        {"segmentation": []},
        {"area": "100", "attributes": {"occluded": False}},
    ],
)
def test_fields_in_another_way(opened: Callable[..., CocoBoxes], annotation: Any) -> None:
    boxes = opened(content(**annotation))
    assert found(boxes) == [BOX]
    assert boxes.find(IMAGES[0], PIXELS).scores.tolist() == [1]
    assert (boxes.names, boxes.category_ids) == ({0: "disc"}, {0: 1})
    assert len(boxes.find(IMAGES[1], PIXELS)) == 0
    assert boxes.notices == []


@pytest.mark.parametrize(
    "size", [(320.0, 240.0), (None, None), (..., ...), (0, 0)], ids=["float", "null", "none", "0"]
)
def test_sizes_in_another_way(opened: Callable[..., CocoBoxes], size: tuple[Any, Any]) -> None:
    value = content()
    for image in value["images"]:
        image |= dict(zip(("width", "height"), size, strict=True))
        for name in ("width", "height"):
            if image[name] is ...:
                del image[name]
    assert found(opened(value)) == [BOX]


def test_another_size_is_an_error(opened: Callable[..., CocoBoxes]) -> None:
    value = content()
    value["images"][0]["width"] = 640
    with pytest.raises(InputError, match="is 320 x 240, but its boxes are for 640 x 240"):
        found(opened(value))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks(opened: Callable[..., CocoBoxes], encoding: str) -> None:
    assert found(opened(content(), encoding)) == [BOX]


def test_windows_paths(opened: Callable[..., CocoBoxes]) -> None:
    value = content()
    for image in value["images"]:
        image["file_name"] = f"C:\\data\\imgs\\{image['file_name']}"
    assert found(opened(value)) == [BOX]


def test_boxes_from_segmentations(opened: Callable[..., CocoBoxes]) -> None:
    polygons = [[38, 48, 128, 48, 128, 144], [200, 100, 210, 100, 205, 120.5]]
    boxes = opened(content(bbox=..., segmentation=polygons))
    assert found(boxes) == [[38, 48, 210, 144]]
    mask = np.zeros((240, 320), bool)
    mask[48:144, 38:128] = True
    rle = Rle.encode(mask)
    for counts in (rle.to_coco()["counts"], rle.counts.tolist()):
        boxes = opened(content(bbox=None, segmentation={"size": [240, 320], "counts": counts}))
        assert found(boxes) == [[38, 48, 128, 144]]


@pytest.mark.parametrize("score", [0.9, 1])
def test_results(opened: Callable[..., CocoBoxes], score: float) -> None:
    """Their ids are names of images, or the numbers in them; of classes, the ids themselves."""
    images = [Path("set/000139.png"), Path("set/street.png")]
    value = [
        {"image_id": name, "category_id": 3, "bbox": [1, 2, 3, 4], "score": score}
        for name in (139, "street", 7)
    ]
    boxes = opened(value, images=images)
    for image in images:
        answer = boxes.find(image, PIXELS)
        assert answer.boxes.tolist() == [[1, 2, 4, 6]]
        assert (answer.classes.tolist(), answer.scores.tolist()) == ([3], pytest.approx([score]))
    assert (boxes.names, boxes.category_ids) == ({}, {3: 3})
    assert "1 image that no image is called like ('7')" in boxes.notices[0]
    with pytest.raises(InputError, match="says nothing about 2 of 2 images"):
        opened(value)


@pytest.mark.parametrize(
    ("annotation", "match"),
    [
        (
            {"bbox": [float("nan"), 0, 5, 5]},
            r"annotation 0 \(id 1\) of .* has bbox \[None, 0, 5, 5",
        ),
        ({"bbox": [1, 2, 3]}, r"has bbox \[1, 2, 3\]; expected x, y, width and height"),
        ({"bbox": ["1", 2, 3, 4]}, "has bbox"),
        ({"bbox": None, "segmentation": None}, "has no bbox, and no segmentation"),
        ({"bbox": ..., "segmentation": {"size": [2, 2], "counts": [9]}}, "has no bbox, and no"),
        ({"category_id": 9}, r"is of category 9; expected one of \[1\]"),
        ({"score": "high"}, "has score 'high'; expected a number"),
        ({"iscrowd": "0"}, "has iscrowd '0'; expected 0 or 1"),
    ],
)
def test_an_odd_annotation_is_its_image_s_own(
    opened: Callable[..., CocoBoxes], annotation: Any, match: str
) -> None:
    value = content(**annotation)
    value["annotations"].append({"image_id": 2, "category_id": 1, "bbox": [0, 0, 9, 9]})
    boxes = opened(value)
    with pytest.raises(InputError, match=match):
        boxes.find(IMAGES[0], PIXELS)
    assert boxes.find(IMAGES[1], PIXELS).boxes.tolist() == [[0, 0, 9, 9]]


def test_negative_sizes_have_no_area(opened: Callable[..., CocoBoxes]) -> None:
    answer = opened(content(bbox=[38, 48, -5, 10])).find(IMAGES[0], PIXELS)
    assert len(answer) == 1  # and is counted where it is dropped
    assert len(answer.clipped((240, 320))) == 0


def test_crowds_and_strays_are_counted(opened: Callable[..., CocoBoxes]) -> None:
    value = content()
    value["annotations"] += [
        {"image_id": 2, "category_id": 1, "bbox": [0, 0, 9, 9], "iscrowd": True},
        {"image_id": 77, "category_id": 1, "bbox": [0, 0, 9, 9]},
    ]
    boxes = opened(value)
    assert len(boxes.find(IMAGES[1], PIXELS)) == 0
    assert boxes.notices[0].endswith(
        "1 annotation of images that it does not list (image_id '77')."
    )
    assert boxes.notices[1].endswith("1 crowd is left out.")


def test_digests_follow_the_content(opened: Callable[..., CocoBoxes]) -> None:
    before = opened(content()).digest(IMAGES[0])
    assert opened(content(segmentation=..., id=9)).digest(IMAGES[0]) == before
    assert opened(content(bbox=[38.4, 48, 89.6, 97])).digest(IMAGES[0]) != before
    assert opened(content(score=0.5)).digest(IMAGES[0]) != before


@pytest.mark.parametrize("value", ["", "{}", "[1]", "[" * 100_000, '{"images": 1}', "no", "\x00"])
def test_what_is_no_coco(opened: Callable[..., CocoBoxes], value: str) -> None:
    with pytest.raises(InputError, match="cannot be read as COCO"):
        opened(value)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda c: c["images"][1].update(id=1), "has image id 1 twice"),
        (lambda c: c["images"][1].update(file_name="a.png"), "has file_name 'a.png' twice"),
        (lambda c: c["categories"].append({"id": 1, "name": "x"}), "has category id 1 twice"),
        (lambda c: c["categories"].append({"id": "x", "name": "x"}), "category ids .* numbers"),
    ],
)
def test_what_means_two_things(
    opened: Callable[..., CocoBoxes], change: Callable[[Any], None], match: str
) -> None:
    value = content()
    change(value)
    with pytest.raises(InputError, match=match):
        opened(value)
