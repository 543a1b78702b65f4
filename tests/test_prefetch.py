"""Items made ahead keep their order, and their errors their place."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from samdeploy.whole_image.prefetch import behind, prefetch, side_by_side


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


@pytest.mark.parametrize("count", [1, 2, 3])
def test_side_by_side_keeps_the_order(count: int) -> None:
    together = threading.Barrier(count)

    def square(value: int) -> int:
        together.wait(5)  # passes only when so many calls are under way
        return value * value

    assert list(side_by_side(square, range(6), count)) == [0, 1, 4, 9, 16, 25]
    assert list(side_by_side(square, [], count)) == []


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_side_by_side_comes_in_its_place(count: int) -> None:
    results = side_by_side(lambda value: 6 // value, [3, 2, 0, 1], count)
    assert next(results) == 2
    assert next(results) == 3
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_the_last_item_is_finished_behind_the_next() -> None:
    asked = [threading.Event() for _ in range(3)]

    def items() -> Iterator[int]:
        for index, event in enumerate(asked):
            event.set()
            yield index

    def square(index: int) -> int:
        assert asked[min(index + 1, 2)].wait(5)
        return index * index

    assert list(behind(square, items())) == [0, 1, 4]
    assert list(behind(square, [])) == []


def test_nothing_is_begun_behind_an_error() -> None:
    begun = []

    def inverse(value: int) -> int:
        begun.append(value)
        return 6 // value

    results = behind(inverse, [3, 0, 2])
    assert next(results) == 2
    with pytest.raises(ZeroDivisionError):
        list(results)
    assert begun == [3, 0]


def test_what_is_finished_comes_before_the_error_of_an_item() -> None:
    def items() -> Iterator[int]:
        yield 3
        raise ValueError("broken")

    results = behind(lambda value: value * value, items())
    assert next(results) == 9
    with pytest.raises(ValueError, match="broken"):
        next(results)
