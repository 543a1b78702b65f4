from __future__ import annotations

import numpy as np

from samdeploy.text import shown


def test_values_stay_on_one_short_line() -> None:
    assert shown([1, 2.5]) == "[1, 2.5]"
    assert shown("10") == "'10'"
    long = shown(np.arange(400).reshape(20, 20))
    assert "\n" not in long
    assert len(long) <= 80
    assert long.startswith("array([[ 0, 1, 2")
    assert " ... " in long
    assert long.endswith("399]])")
