"""Settings of a node by name."""

from __future__ import annotations

from typing import Any

import pytest

from samdeploy import InputError
from samdeploy.robots.settings import NodeSettings, parameters


def test_every_parameter_is_a_setting() -> None:
    names = [each.name for each in parameters()]
    assert len(names) == len(set(names))
    assert {"model", "device", "max_objects", "lost_below"} <= set(names)
    given = {each.name: each.default for each in parameters()} | {"model": "m"}
    assert NodeSettings.from_names(given) == NodeSettings("m")
    assert all(each.help for each in parameters())


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({}, "no model; say model="),
        ({"model": ""}, "no model"),
        ({"model": "m", "max_object": 3}, "unknown setting 'max_object'.*max_objects"),
        ({"model": "m", "max_objects": 0}, r"max_objects=0; expected a whole number from 1"),
        ({"model": "m", "warmup": -1}, "warmup=-1"),
        ({"model": "m", "stale_after": float("nan")}, "stale_after=nan"),
        ({"model": "m", "follow_prompts": "yes"}, "follow_prompts='yes'; expected True or False"),
        ({"model": "m", "lost_below": 2}, "lost_below=2"),
        ({"model": "m", "bit_depth": 12, "image_window": [0, 1]}, "give one of them"),
    ],
)
def test_bad_ones(values: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError, match=why):
        NodeSettings.from_names(values)


def test_kinds() -> None:
    kinds = {each.name: each.kind for each in parameters()}
    assert kinds["model"] is kinds["runtime"] is str
    assert kinds["threads"] is kinds["max_objects"] is int
    assert (kinds["follow_prompts"], kinds["stale_after"]) == (bool, float)
    assert (kinds["image_window"], kinds["lost_below"]) == (list, float)


def test_values_may_be_text() -> None:
    texts = {
        "model": "12", "threads": "4", "follow_prompts": "true", "stale_after": "3",
        "image_window": "[0, 4095]", "lost_below": "0.25",
    }  # fmt: skip
    settings = NodeSettings.from_texts(texts)
    assert (settings.model, settings.threads, settings.follow_prompts) == ("12", 4, True)
    assert (settings.stale_after, settings.track.lost_below) == (3, 0.25)
    assert settings.image_window == [0, 4095]


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("threads", "four", "threads=four; expected a value like 4"),
        ("threads", "true", "threads=true; expected a value like 4"),
        ("threads", "1.5", "expected a value like 4"),
        ("follow_prompts", "1", "expected a value like true"),
        ("image_window", "0", r"expected a value like \[0, 4095\]"),
        ("stale_after", "true", "expected a value like 0.5"),
        ("thread", "4", "unknown setting 'thread'.*threads"),
    ],
)
def test_bad_texts(name: str, text: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        NodeSettings.from_texts({"model": "m", name: text})
