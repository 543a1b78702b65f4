"""Rockchip's toolkit, which builds and simulates, in a process of an environment of its own, since
it pins old versions of what others need new. :data:`VARIABLE` names the Python of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from samdeploy.session import Array, Availability

VARIABLE = "SAMDEPLOY_RKNN"
_HOW = (
    "python3.11 -m venv rknn-env && rknn-env/bin/pip install rknn-toolkit2==2.5.0 'setuptools<80' "
    f"&& export {VARIABLE}=rknn-env/bin/python"
)
_SCRIPT = Path(__file__).with_name("rknn_process.py")
#: A line of an error of the toolkit's, which begins so, in colours.
_ERROR = re.compile(r"^(?:\x1b\[[\d;]*m|\s)*E\b(.*)", re.MULTILINE)
_COLOUR = re.compile(r"\x1b\[[\d;]*m")


class ToolkitError(Exception):
    """Says in a few words what failed."""


def toolkit_availability(device: str, *, simulated: bool = False) -> Availability:
    """Whether there is a toolkit, for ``device``."""
    python = os.environ.get(VARIABLE, "")
    if not python:
        reason = f"{VARIABLE} names no Python of an environment that has rknn-toolkit2"
        return Availability(reason=reason, install=_HOW)
    found = sorted(Path(python).parent.parent.glob("lib/python*/site-packages/rknn_toolkit2-*"))
    if not found or not Path(python).is_file():
        reason = f"{VARIABLE}={python} is no Python of an environment that has rknn-toolkit2"
        return Availability(reason=reason, install=_HOW)
    version = found[0].name.split("-")[1].removesuffix(".dist")
    return Availability(devices=(device,), version=version, simulated=simulated)


class Toolkit:
    """The process. It ends with this object, or at the latest with ours."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  as long as it
        # What it writes into the current folder when something fails is of no use to anyone.
        self._folder = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            # Not as a file: those beside it have the names of libraries.
            [Path(os.environ[VARIABLE]).absolute(), "-c", _SCRIPT.read_text()],
            cwd=self._folder.name,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said,
        )  # fmt: skip
        weakref.finalize(self, _end, self._process, self._said, self._folder)

    def ask(self, do: str, arrays: Sequence[Array] = (), **order: Any) -> list[Array]:
        """Send an order of ``rknn_process.py`` and wait for its answer.

        Raises:
            ToolkitError: it failed.
        """
        sent = {"do": do, **order, "shapes": [each.shape for each in arrays]}
        with self._lock:
            orders, answers = self._process.stdin, self._process.stdout
            assert orders is not None
            assert answers is not None
            try:
                with suppress(BrokenPipeError):  # then there is no answer either
                    orders.write(json.dumps(sent).encode() + b"\n")
                    for each in arrays:
                        orders.write(np.ascontiguousarray(each, np.float32).tobytes())
                    orders.flush()
                line = answers.readline()
                told: dict[str, Any] = json.loads(line) if line else {"error": "it ended"}
                if "error" not in told:
                    return [_read(answers, shape) for shape in told["shapes"]]
            except BaseException:
                self._process.kill()  # or the next order would be given this one's answer
                raise
            raise ToolkitError(self._words(told["error"]))

    def _words(self, error: str) -> str:
        """The error, and the last that the toolkit said."""
        self._said.seek(0)
        said = self._said.read()
        lines = _ERROR.findall(said) or said.strip().splitlines()
        last = " ".join(_COLOUR.sub("", lines[-1]).split()) if lines else ""
        return f"{error}: {last}" if last else error


def _read(stream: IO[bytes], shape: Sequence[int]) -> Array:
    values = np.frombuffer(stream.read(4 * int(np.prod(shape))), np.float32)
    result: Array = values.reshape(shape).copy()
    return result


def _end(
    process: subprocess.Popen[bytes], said: IO[str], folder: tempfile.TemporaryDirectory[str]
) -> None:
    process.kill()  # it may be at work for minutes
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()
    process.wait()
    said.close()
    folder.cleanup()
