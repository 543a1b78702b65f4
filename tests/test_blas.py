"""BLAS threads are taken and given back, whoever leaves first."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from samdeploy.whole_image.blas import one_blas_thread
from samdeploy.whole_image.generate import generate
from samdeploy.whole_image.settings import WholeImageSettings


def threads() -> list[int]:
    return [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]


@pytest.fixture(autouse=True)
def two_threads() -> object:
    with threadpool_limits(2, "blas"):
        if threads() != [2] * len(threads()) or not threads():
            pytest.skip("this NumPy has no BLAS whose threads can be set")
        yield


def test_in_any_order() -> None:
    first, second = ExitStack(), ExitStack()
    first.enter_context(one_blas_thread())
    second.enter_context(one_blas_thread())
    assert set(threads()) == {1}
    first.close()
    assert set(threads()) == {1}
    second.close()
    assert set(threads()) == {2}
    with pytest.raises(ValueError, match="gone wrong"), one_blas_thread():
        raise ValueError("gone wrong")
    assert set(threads()) == {2}


def test_whole_image_mode_takes_one() -> None:
    found: list[int] = []

    def encode(image: np.ndarray) -> object:
        found.extend(threads())
        raise InterruptedError

    with pytest.raises(InterruptedError):
        generate(encode, None, np.zeros((8, 8, 3), np.uint8), WholeImageSettings())  # type: ignore[arg-type]
    assert set(found) == {1}
    assert set(threads()) == {2}
