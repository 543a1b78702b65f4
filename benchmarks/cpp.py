"""Rows of the C++ runtime beside Python's."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec

from samdeploy.benchmarks.program import CPP, PROGRAM
from samdeploy.benchmarks.workbench import Task, Workbench
from samdeploy.errors import InputError, RuntimeUnavailableError

#: Names the program where ``cli=`` does not.
VARIABLE = "SAMDEPLOY_CLI"


def find_program(given: str | Path | None) -> Path:
    """The built program: ``given``, or what the variable names, or what is on the path.

    Raises:
        InputError: what is named is no program.
        RuntimeUnavailableError: none is named, and there is none.
    """
    named = given or os.environ.get(VARIABLE)
    found = shutil.which(named or PROGRAM)
    if found:
        return Path(found).absolute()
    if named:
        raise InputError(f"cli={named}; expected the path of a built {PROGRAM}, see docs/cpp.md.")
    raise RuntimeUnavailableError(
        f"there is no {PROGRAM} here; build runtimes/cpp and pass cli=its path, or set {VARIABLE}."
    )


def in_cpp(bench: Workbench, task: Task, program: Path | RuntimeUnavailableError) -> Task:
    """The same case in C++, or why there is none."""
    case = msgspec.structs.replace(task.case, name=f"{task.case.name} in C++", runtime=CPP)
    if task.job is None:
        return Task(case)
    if isinstance(program, RuntimeUnavailableError):
        return Task(msgspec.structs.replace(case, status="absent", note=str(program)))
    if task.job.substitute:
        note = "no whole image: made-up answers are put into the sessions of Python alone"
        case = msgspec.structs.replace(case, note=note)
    same = {name: getattr(task.job, name) for name in ("runtime", "device", "precision", "threads")}
    return Task(case, bench.job(CPP, task.job.model, program=str(program), **same))
