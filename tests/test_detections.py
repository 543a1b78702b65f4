"""What detectors of others return."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from samdeploy import InputError
from samdeploy.detections import Detections, as_detections


def answer(boxes: Any, scores: Any, classes: Any) -> Any:
    return SimpleNamespace(boxes=boxes, scores=scores, classes=classes)


class Tensor:
    """As torch's, which NumPy does not take while it needs gradients or is on a GPU."""

    def __init__(self, values: Any, grad: bool = True) -> None:
        self._values, self._grad = values, grad

    def detach(self) -> Tensor:
        return Tensor(self._values, False)

    def cpu(self) -> Tensor:
        return self

    def double(self) -> Tensor:
        return self

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        if self._grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")
        return np.array(self._values, dtype)


@pytest.mark.parametrize("kind", [list, np.array, lambda v: np.array(v, np.float16), Tensor])
def test_numbers_of_any_kind(kind: Any) -> None:
    found = as_detections(answer(kind([[1, 2, 3, 4], [0, 0, 8, 8]]), kind([0.5, 1]), kind([2, 0])))
    assert found.boxes.tolist() == [[1, 2, 3, 4], [0, 0, 8, 8]]
    assert (found.scores.tolist(), found.classes.tolist()) == ([0.5, 1], [2, 0])
    assert [a.dtype for a in vars(found).values()] == [np.float32, np.float32, np.int64]


@pytest.mark.parametrize("empty", [[], np.zeros((0, 4)), np.zeros((1, 0)), Tensor([])])
def test_no_box_is_no_object(empty: Any) -> None:
    found = as_detections(answer(empty, [], []))
    assert (found.boxes.shape, len(found)) == ((0, 4), 0)


@pytest.mark.parametrize(
    ("found", "match"),
    [
        (None, "the detector returned None; expected .*for no object, with none"),
        ([[1, 2, 3, 4]], r"the detector returned \[\[1, 2, 3, 4\]\]; expected"),
        (answer([[1, 2, 3, 4]], None, [0]), "the detector returned"),
        (answer([[1, 2, 3, 4]], [], [0]), r"shapes \[\[1, 4\], \[0\], \[1\]\]"),
        (answer([[1, 2, 3]], [1], [0]), "shapes"),
        (answer([[1, 2, 3, float("nan")]], [1], [0]), "not finite"),
        (answer([[1, 2, 3, 4]], [1], [0.5]), "class 0.5; expected whole numbers"),
        (answer([[1, 2, 3, 4]], [1], [-1]), "class -1"),
        (answer([[1, 2, 3, 4]], [1], [2**63]), "class 9.22"),
        (answer([["a", 2, 3, 4]], [1], [0]), "the detector returned"),
    ],
)
def test_anything_else_is_named(found: Any, match: str) -> None:
    with pytest.raises(InputError, match=match):
        as_detections(found)


def test_boxes_are_cut_at_the_edges() -> None:
    boxes = np.array([[-0.5, 3, 20.7, 9], [30, 0, 40, 9], [5, 5, 5, 9], [9, 5, 8, 9]], np.float32)
    found = Detections(boxes, np.arange(4, dtype=np.float32), np.arange(4))
    kept = found.clipped((10, 20))
    assert (kept.boxes.tolist(), kept.classes.tolist()) == ([[0, 3, 20, 9]], [0])
    assert found.of_classes(frozenset({3, 1})).classes.tolist() == [1, 3]
    assert found.of_classes(None) is found
