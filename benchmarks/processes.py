"""Fresh processes: each case has one to itself, so that memory and start-up are its own."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from samdeploy.benchmarks.jobs import Job, Outcome
from samdeploy.errors import SamDeployError

_T = TypeVar("_T")

#: Keeps freed memory in the process. Where the first touch of a page is dear, as on many virtual
#: machines, eager torch runs up to twice as fast with it; users of torch rarely set it.
TUNED_MALLOC = (
    "glibc.malloc.mmap_threshold=8589934592:glibc.malloc.trim_threshold=17179869184:"
    "glibc.malloc.top_pad=268435456"
)
MALLOCS = ("default", "tuned")


class MeasurementError(SamDeployError):
    """A measuring process failed; the message is the last line that it wrote."""


class OutOfTimeError(SamDeployError):
    """A process was ended at its deadline."""


def measure_in_process(
    job: Job, folder: Path, malloc: str = "default", deadline: float = math.inf
) -> Outcome:
    """Run ``job`` in a fresh process; ``folder`` is for its files.

    Raises:
        MeasurementError: it failed.
        OutOfTimeError: it was not ready at ``deadline``, in seconds of ``time.monotonic``.
    """
    return _run("measure", job, folder, malloc, Outcome, deadline)


def prepare_in_process(job: Job, folder: Path) -> str:
    """Make what the job's subject needs first (a peer's export), in a process that is not
    measured; the path of it.

    Raises:
        MeasurementError: it failed.
    """
    return _run("prepare", job, folder, "default", str)


def run_until(
    deadline: float, command: Sequence[str], environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A process to its end, or to ``deadline``; its output is captured.

    Raises:
        OutOfTimeError: the deadline came first.
    """
    left = None if math.isinf(deadline) else max(deadline - time.monotonic(), 0)
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, timeout=left
        )
    except subprocess.TimeoutExpired as error:
        raise OutOfTimeError("it was not ready in time") from error


def _run(
    action: str,
    job: Job,
    folder: Path,
    malloc: str,
    kind: type[_T],
    deadline: float = math.inf,
) -> _T:
    asked, answered = folder / "job.json", folder / "outcome.json"
    asked.write_bytes(msgspec.json.encode(job))
    answered.unlink(missing_ok=True)
    environment: dict[str, Any] = dict(os.environ)
    if malloc == "tuned":
        environment["GLIBC_TUNABLES"] = TUNED_MALLOC
    worker = [sys.executable, "-m", "samdeploy.benchmarks.worker"]
    done = run_until(deadline, [*worker, action, str(asked), str(answered)], environment)
    if done.returncode or not answered.is_file():
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1] if lines else f"the process ended with code {done.returncode}"
        raise MeasurementError(reason)
    return msgspec.json.decode(answered.read_bytes(), type=kind)
