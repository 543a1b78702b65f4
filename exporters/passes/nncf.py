"""NNCF, Intel's quantiser, without its progress bars and reports."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from samdeploy.libraries import optional_library


@contextmanager
def quiet_nncf(purpose: str) -> Iterator[Any]:
    """The module, for as long as nothing of what it prints is shown.

    Args:
        purpose: the options that need it, such as ``int8=True``.

    Raises:
        RuntimeUnavailableError: it is not installed, or does not work.
    """
    with optional_library(f"{purpose} needs NNCF, which", "pip install 'samdeploy[openvino]'"):
        import nncf
    nncf.set_log_level(logging.ERROR)
    with redirect_stdout(io.StringIO()):
        yield nncf
