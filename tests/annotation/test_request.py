"""What is asked of a run, before anything is opened."""

from __future__ import annotations

import inspect
from dataclasses import MISSING
from typing import Any

import numpy as np
import pytest

from samdeploy import SAM, InputError, auto_annotate
from samdeploy.annotation.plan import plan
from samdeploy.annotation.request import Request
from samdeploy.options import options_of
from tests.annotation.conftest import Folder, tree


def test_the_function_has_every_option_and_its_default() -> None:
    parameters = inspect.signature(auto_annotate).parameters
    for name, each in options_of(Request).items():
        default = inspect.Parameter.empty if each.default is MISSING else each.default
        assert parameters[name].default == default, name
    assert parameters.keys() - options_of(Request) == {"progress", "log", "options"}


def test_numbers_of_numpy_become_python_s() -> None:
    request = Request(
        data="images", conf=np.float32(0.5), imgsz=np.int16(320), zoom=np.bool_(True),
        classes=np.array([2, 0, 2]), window=[np.int64(0), np.float32(9)], engine="ray",
        workers=np.array([1, 4]), worker_cpus=np.float64(2),
    )  # fmt: skip
    assert (request.conf, request.imgsz, request.zoom) == (0.5, 320, True)
    assert request.steps.classes == (0, 2)
    assert request.steps.image_options.window == (0.0, 9.0)
    assert request.cluster.workers == (1, 4)
    kinds = [type(value) for value in (request.conf, request.imgsz, request.zoom)]
    assert kinds == [float, int, bool]


@pytest.mark.parametrize(
    ("changes", "mode"),
    [
        ({}, "detector"),
        ({"det_model": "none"}, "whole image"),
        ({"boxes": "given"}, "boxes"),
        ({"boxes": "given", "det_model": "none"}, "boxes"),
    ],
)
def test_where_boxes_come_from(changes: dict[str, Any], mode: str) -> None:
    assert Request(data="images", **changes).mode == mode


def test_what_is_heeded_is_no_mistake(fake: SAM) -> None:
    Request(data="images", boxes="given", sam_model=fake, device="auto")
    Request(data="images", sam_model=fake, device="cpu", conf=0.5)  # of the detector
    Request(data="images", format="coco", simplify=2, others={"segmentation": "polygon"})


def test_a_plan_touches_nothing(folder: Folder) -> None:
    """It says what would be done, and opens none of the models."""
    before = tree(folder.root)
    todo = plan(Request(data=folder.images, sam_model="nowhere", val=0.25))
    assert [path.name for path in todo.images] == sorted(folder.masks)
    assert sorted(todo.splits.values()) == ["train", "train", "train", "val"]
    assert todo.root == folder.root / "labels"
    assert tree(folder.root) == before
    with pytest.raises(InputError, match="of one image"):
        plan(Request(data=folder.images / "s0.png", val=0.25))
