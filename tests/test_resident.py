"""What stays on a device: only what nobody can write to, and only as long as it is of use."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

from samdeploy.resident import Resident, freeze, is_frozen
from samdeploy.session import Array


class Copy:
    """What a runtime would make on its device."""

    def __init__(self, array: Array) -> None:
        self.values = array.copy()


@pytest.fixture
def resident() -> Resident[Copy]:
    return Resident(Copy)


def test_only_what_nobody_can_write_to_is_frozen() -> None:
    array = np.zeros((2, 3), np.float32)
    view = array.view()
    view.flags.writeable = False
    assert not is_frozen(view)  # its owner may still change it
    assert is_frozen(freeze(array)) and is_frozen(view)


def test_a_frozen_array_is_made_once(resident: Resident[Copy]) -> None:
    array = freeze(np.ones(3))
    assert resident.get("a", array) is resident.get("a", array)
    assert resident.get("b", array) is not resident.get("a", array)  # another input's place
    same = freeze(np.ones(3))
    assert resident.get("a", same) is not resident.get("a", array)


def test_what_can_be_written_to_is_made_every_time(resident: Resident[Copy]) -> None:
    array = np.ones(3)
    view = array.view()
    view.flags.writeable = False
    for given in (array, view):
        before = resident.get("a", given).values
        array += 1
        after = resident.get("a", given).values
        np.testing.assert_array_equal(after, before + 1)


def test_one_that_is_thawed_is_made_again(resident: Resident[Copy]) -> None:
    array = freeze(np.ones(3))
    resident.get("a", array)
    array.flags.writeable = True
    array += 1
    np.testing.assert_array_equal(resident.get("a", array).values, [2, 2, 2])


def test_it_goes_with_the_array_and_with_the_session(resident: Resident[Copy]) -> None:
    first, second = freeze(np.ones(3)), freeze(np.ones(3))
    made = [weakref.ref(resident.get("a", first)), weakref.ref(resident.get("b", second))]
    del first
    assert made[0]() is None
    assert made[1]() is not None
    another = Resident(Copy)
    kept = weakref.ref(another.get("a", second))
    del another
    assert kept() is None  # without the garbage collector
    resident.clear()
    assert made[1]() is None
