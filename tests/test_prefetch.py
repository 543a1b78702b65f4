"""Items made ahead keep their order, and their errors their place."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from samdeploy.prefetch import prefetch


def test_order_and_end() -> None:
    assert list(prefetch(range(7))) == list(range(7))
    assert list(prefetch([])) == []


def test_the_next_item_is_made_meanwhile() -> None:
    made = [threading.Event() for _ in range(3)]

    def items() -> Iterator[int]:
        for index, event in enumerate(made):
            event.set()
            yield index

    ahead = prefetch(items())
    assert next(ahead) == 0
    assert made[1].wait(5)
    assert not made[2].is_set()
    assert list(ahead) == [1, 2]


def test_an_error_comes_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    ahead = prefetch(items())
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="broken"):
        next(ahead)
