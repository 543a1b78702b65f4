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
