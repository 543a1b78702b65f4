"""The work of a run spread over a cluster by Ray Data: actors that hold the models.

The process that started the run keeps the journal and asks for nothing but records. An actor that
dies is started anew and its images are done again, which may be: what is written depends on the
image alone.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from samdeploy.annotation.cluster import Cluster
from samdeploy.annotation.journal import Record
from samdeploy.annotation.local_engine import run_local
from samdeploy.annotation.work import Work
from samdeploy.annotation.worker import Worker
from samdeploy.errors import OutputError, SamDeployError
from samdeploy.libraries import optional_library

#: Images that a worker is given at a time. Their records come together, so this many per worker are
#: done again after a kill.
_MOST_IMAGES = 32
#: Rows are paths and records; Ray plans for blocks of 128 MiB unless told.
_BLOCK_BYTES = 1 << 20


def import_ray() -> Any:
    """Ray with Ray Data.

    Raises:
        RuntimeUnavailableError: it is not installed, or does not work.
    """
    with optional_library("engine=ray", "pip install 'samdeploy[ray]'"):
        import ray
        import ray.data
    return ray


def run_ray(work: Work) -> Iterator[Record]:
    """Records come in the order in which workers finish.

    Raises:
        OutputError: a worker cannot write its output.
        SamDeployError: Ray gave up.
    """
    if not work.paths:
        return
    ray = import_ray()
    at_a_time = _images_at_a_time(len(work.paths), work.cluster)
    with _cluster(ray), _quiet(ray.data.DataContext.get_current()):
        rows = (
            ray.data.from_items(
                [{"path": str(path.absolute())} for path in work.paths],
                override_num_blocks=math.ceil(len(work.paths) / at_a_time),
            )
            .map_batches(
                _Actor,
                fn_constructor_args=(work.open_worker,),
                batch_size=at_a_time,
                compute=_pool(ray.data.ActorPoolStrategy, work.cluster),
                num_cpus=work.cluster.cpus,
                num_gpus=work.cluster.gpus or None,
            )
            .iter_rows()
        )
        try:
            for row in rows:
                if row["stop"]:
                    raise OutputError(row["stop"])
                yield msgspec.json.decode(row["record"], type=Record)
        except ray.exceptions.RayError as error:
            raise _reason(error) from error


class _Actor:
    """Lives in a process of its own, where Ray calls it with the paths of a batch."""

    def __init__(self, open_worker: Callable[[], Worker]) -> None:
        self._worker = open_worker()

    def __call__(self, batch: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        paths = [Path(str(path)) for path in batch["path"]]
        records: list[bytes] = []
        stop = ""
        try:
            for record in run_local(Work(paths, lambda: self._worker)):
                records.append(msgspec.json.encode(record))
        except OutputError as error:
            # A row and not an exception, of which Ray would print the trace of every process.
            records.append(b"")
            stop = str(error)
        return {
            "record": np.array(records, object),
            "stop": np.array([*[""] * (len(records) - 1), stop], object),
        }


@contextmanager
def _cluster(ray: Any) -> Iterator[None]:
    """Ray as this process has it already; else the cluster that ``RAY_ADDRESS`` names or that runs
    here; else one of this machine alone, for as long as the run takes."""
    if ray.is_initialized():
        yield
        return
    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _quiet(context: Any) -> Iterator[None]:
    """Our own progress is shown, and Ray's is not."""
    ours = {
        "enable_progress_bars": False,
        "print_on_execution_start": False,
        "target_max_block_size": _BLOCK_BYTES,
    }
    before = {name: getattr(context, name) for name in ours}
    logger = logging.getLogger("ray.data")
    level = logger.level
    logger.setLevel(logging.ERROR)
    for name, value in ours.items():
        setattr(context, name, value)
    try:
        yield
    finally:
        logger.setLevel(level)
        for name, value in before.items():
            setattr(context, name, value)


def _pool(strategy: Any, cluster: Cluster) -> Any:
    least, most = cluster.workers
    return strategy(min_size=least, max_size=most)


def _images_at_a_time(images: int, cluster: Cluster) -> int:
    """Few enough that every worker is asked several times."""
    least, most = cluster.workers
    return min(math.ceil(images / (4 * (most or 16 * least))), _MOST_IMAGES)


def _reason(error: BaseException) -> SamDeployError:
    """The reason that a worker gave, or that Ray gave up."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, SamDeployError):
            return seen
        seen = getattr(seen, "cause", None) or seen.__cause__
    line = str(error).strip().splitlines()[-1]
    return SamDeployError(
        f"Ray gave up ({line}); images that were finished are kept, and the same command goes on "
        "from there."
    )
