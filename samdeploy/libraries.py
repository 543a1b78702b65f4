"""Optional libraries: a missing or broken one is a sentence, whatever its import raises."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Any, cast

from samdeploy.errors import RuntimeUnavailableError
from samdeploy.notices import notice
from samdeploy.text import reason

# ONNX Runtime reports its use to its maker, from 1.32 on, and is slow to begin with it: not unless
# its user says so. It reads this when it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# OpenVINO's converter and NNCF do so, a message an operator, by a package that they can be without.
sys.modules.setdefault("openvino_telemetry", cast(Any, None))

#: What importing a library may raise. A broken one raises anything: OSError of a missing .so,
#: AttributeError of a NumPy that does not fit, RuntimeError where it wants a home folder.
ANY_FAILURE = (Exception, SystemExit)

_REPAIR = "it is installed but does not work: repair it, install it again or remove it"


@contextmanager
def optional_library(what: str, install: str) -> Iterator[None]:
    """The block imports a library that ``what`` needs; the command ``install`` brings it.

    Raises:
        RuntimeUnavailableError: it is not installed, or does not work.
    """
    try:
        yield
    except ANY_FAILURE as error:
        hint = remedy(error, install)
        run = "run: " if hint == install else ""
        raise RuntimeUnavailableError(
            f"{what} is not usable here ({reason(error)}); {run}{hint}."
        ) from error


def added(group: str) -> list[Any]:
    """What other packages added to a group of entry points. One that fails is left out, with a
    notice: nothing that does without it ends because of it."""
    found = []
    for point in sorted(entry_points(group=group)):
        try:
            found.append(point.load())
        except ANY_FAILURE as error:
            notice("'%s' of %s is left out (%s); %s.", point.value, group, reason(error), _REPAIR)
    return found


def remedy(error: BaseException, install: str) -> str:
    """Say how to mend ``error``: installing helps against a module that is not there, and only
    that."""
    return install if isinstance(error, ModuleNotFoundError) else _REPAIR
