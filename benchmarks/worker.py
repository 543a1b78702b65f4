"""The measuring process: ``python -m samdeploy.benchmarks.worker measure|prepare JOB ANSWER``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from samdeploy.benchmarks.jobs import Job
from samdeploy.benchmarks.measure import Subject, measure
from samdeploy.benchmarks.ours import Ours
from samdeploy.benchmarks.peer_registry import PEERS
from samdeploy.benchmarks.program import CPP, measure_program
from samdeploy.benchmarks.single_pass import SinglePass

#: Names to what opens the model of a job.
SUBJECTS: dict[str, Callable[[Job], Subject]] = {
    "samdeploy": Ours,
    "single_pass": SinglePass,
    **PEERS,
}


def main(action: str, asked: str, answered: str) -> None:
    job = msgspec.json.decode(Path(asked).read_bytes(), type=Job)
    if action == "prepare":
        result: object = PEERS[job.subject].prepare(job, Path(answered).parent)
    elif job.subject == CPP:
        result = measure_program(job)
    else:
        result = measure(lambda: SUBJECTS[job.subject](job), job)
    Path(answered).write_bytes(msgspec.json.encode(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
