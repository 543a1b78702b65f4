"""Arrow arrays to requests and pixels, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from samdeploy import InputError
from samdeploy.robots.messages import Diagnosis, Level, Request
from tests.robots.painted_node import Setup
from tests.tracking.painted import RED, paint

pa = pytest.importorskip("pyarrow")
pytest.importorskip("dora")
messages = pytest.importorskip("samdeploy.runtimes.dora.messages")

RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)


def test_pixels() -> None:
    value, metadata = messages.image_message(RGB, "rgb8")
    np.testing.assert_array_equal(messages.pixels_of(value, metadata), RGB)
    value, metadata = messages.image_message(RGB[..., 0].astype(np.uint16) * 200, "mono16")
    assert value.type == pa.uint16()
    np.testing.assert_array_equal(messages.pixels_of(value, metadata), RGB[..., 0] * np.uint16(200))
    with pytest.raises(InputError, match="6 pixels in bgr8 with 144 bytes"):
        messages.pixels_of(pa.array(RGB.ravel()), {"encoding": "bgr8", "width": 9, "height": 6})
    with pytest.raises(InputError, match="height=None; expected a whole number from 1"):
        messages.pixels_of(pa.array(RGB.ravel()), {"encoding": "bgr8"})
    with pytest.raises(InputError, match="an image of string; expected its bytes"):
        messages.pixels_of(pa.array(["x"]), {"encoding": "bgr8"})
    with pytest.raises(InputError, match="cannot be read"):
        messages.pixels_of(pa.array(RGB.ravel()), {"encoding": "yuv9"})


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([{"box": [1, 2, 3, 4]}], [Request(box=[1, 2, 3, 4])]),
        (
            [{"points": [[5, 6], [7, 8]], "labels": [1, 0], "name": "cup"}, {"points": [[1, 1]]}],
            [Request([[5, 6], [7, 8]], [1, 0], name="cup"), Request([[1, 1]])],
        ),
        (
            [{"bbox": [1.0, 2, 3, 4, 5, 6, 7, 8], "conf": [0.5, 0.6], "labels": ["cup", "pen"]}],
            [Request(box=[1, 2, 3, 4], name="cup"), Request(box=[5, 6, 7, 8], name="pen")],
        ),
        ([{"bbox": [], "labels": []}], []),
    ],
)
def test_requests(rows: list[Any], expected: list[Request]) -> None:
    asked = messages.requests_of(pa.array(rows))
    plain = [{k: v for k, v in vars(each).items() if v is not None} for each in asked]
    assert [Request(**each) for each in plain] == expected


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([3], "a request 3; expected a struct"),
        ([{"boxes": [1, 2, 3, 4]}], "a request with 'boxes'; expected points, labels, box, name"),
        ([{"bbox": [1.0, 2, 3, 4], "labels": ["a", "b"]}], "2 labels for 1 boxes"),
        ([{"bbox": 3}], r"bbox=3, labels=\[\]; expected \[x1, y1, x2, y2, \.\.\.\]"),
    ],
)
def test_bad_requests(rows: list[Any], why: str) -> None:
    with pytest.raises(InputError, match=why):
        messages.requests_of(pa.array(rows))


def test_results() -> None:
    setup = Setup()
    id = setup.node.add(Request(box=(16, 48, 48, 80), name="cup"))
    result = setup.show(paint(((16, 48, 48, 80), RED)))
    [row] = messages.result_message(result).to_pylist()
    [found] = row.pop("found")
    assert row == {"number": 0, "height": 128, "width": 128, "lost": [], "ended": []}
    assert (found["id"], found["name"], found["followed"]) == (id, "cup", True)
    assert found["mask"] == result.found[0].rle.to_coco()["counts"]
    assert found["box"] == [16, 48, 48, 80]


def test_diagnoses() -> None:
    told = messages.diagnosis_message(Diagnosis(Level.WARN, "no frame.", {"rate_hz": 2.5}))
    assert told.to_pylist() == [{"level": "WARN", "message": "no frame.", "rate_hz": 2.5}]
