"""NumPy's matrix products on one thread while inference runs beside them.

After a product on several threads OpenBLAS keeps them spinning for some 50 ms, in case another one
comes. Inference that follows at once has to share the processor with them: eight prompts a call, a
scorer of 80 ms took 130 ms after a product of 1 ms.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache

from threadpoolctl import ThreadpoolController

_lock = threading.Lock()
_limit = ExitStack()
_users = 0


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """The number of threads belongs to the process: the first that enters sets it, the last that
    leaves restores it."""
    global _users
    with _lock:
        if _users == 0:
            _limit.enter_context(_controller().limit(limits=1, user_api="blas"))
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _limit.close()


@lru_cache
def _controller() -> ThreadpoolController:
    """Looks through the libraries of the process, once."""
    return ThreadpoolController()
