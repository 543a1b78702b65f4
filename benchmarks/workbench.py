"""The workbench of every benchmark: a folder, an image, the weights, and a way to run its cases."""

from __future__ import annotations

import datetime
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from samdeploy.benchmarking import Measuring
from samdeploy.benchmarks.devices import detect_devices, runtime_states
from samdeploy.benchmarks.environment import read_environment
from samdeploy.benchmarks.jobs import Job, Outcome
from samdeploy.benchmarks.processes import MeasurementError, measure_in_process
from samdeploy.benchmarks.published import PUBLISHED
from samdeploy.benchmarks.records import (
    SCHEMA_VERSION,
    Case,
    Conditions,
    Report,
    Statistics,
    image_hash,
)
from samdeploy.benchmarks.substitution import SETTINGS
from samdeploy.benchmarks.weights import DESCRIPTION, random_checkpoint
from samdeploy.checkpoints import resolve_checkpoint
from samdeploy.errors import InputError
from samdeploy.exporting.metrics import mask_iou
from samdeploy.images import load_image
from samdeploy.scenes import generate_scene
from samdeploy.whole_image.settings import WholeImageSettings

Say = Callable[[str], None]

#: (height, width) of the scene that stands for a photograph when no image is given.
IMAGE_SIZE = (1200, 1800)
WEIGHTS = ("checkpoint", "random")


@dataclass(frozen=True)
class Task:
    """A case before it was measured; ``job`` ``None`` when it cannot be, ``case.note`` says why."""

    case: Case
    job: Job | None = None


@dataclass(frozen=True)
class Settings(Measuring):
    """The same, checked, and how to read a checkpoint. See :func:`samdeploy.benchmark`."""

    imgsz: int | None = None
    config: Mapping[str, Any] | str | Path | None = None

    def __post_init__(self) -> None:
        least = {"warmup": 0, "rounds": 1, "repeats": 1, "whole_image_rounds": 1, "threads": 1}
        for name, smallest in least.items():
            value = getattr(self, name)
            if value is not None and value < smallest:
                raise InputError(f"{name}={value}; expected {smallest} or more.")
        if self.weights not in WEIGHTS:
            raise InputError(f"weights='{self.weights}'; expected one of {', '.join(WEIGHTS)}.")
        WholeImageSettings(points_stride=self.points_stride)

    @property
    def random(self) -> bool:
        return self.weights == "random"

    @property
    def mode(self) -> dict[str, Any] | None:
        """Settings of whole-image mode."""
        if not self.whole_image:
            return None
        return {"points_stride": self.points_stride, **(SETTINGS if self.random else {})}


class Workbench:
    """A folder that is removed afterwards, with the image in it."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder, self.settings = folder, settings
        image = _image(settings.image)
        self._image_file = folder / "image.npy"
        content = io.BytesIO()
        np.save(content, image)
        self._image_file.write_bytes(content.getvalue())
        self.conditions = Conditions(
            image_size=(image.shape[0], image.shape[1]),
            image_sha256=image_hash(content.getvalue()),
            threads=settings.threads,
            warmup=settings.warmup,
            rounds=settings.rounds,
            repeats=settings.repeats,
            whole_image_rounds=settings.whole_image_rounds,
            whole_image=settings.mode,
            substituted=settings.random and settings.whole_image,
            imgsz=settings.imgsz,
            config=_told(settings.config),
        )
        self._jobs = 0

    def checkpoint(self, model: str | Path) -> Path:
        """The checkpoint of that name, with random weights if so chosen."""
        if self.settings.random:
            return random_checkpoint(str(model), self.folder)
        return resolve_checkpoint(model)

    def job(self, subject: str, model: str | Path, **changes: Any) -> Job:
        """A job under the settings of this benchmark."""
        chosen = self.settings
        self._jobs += 1
        config = str(chosen.config) if isinstance(chosen.config, Path) else chosen.config
        job = Job(
            subject=subject,
            model=str(model),
            image=str(self._image_file),
            logits=str(self.folder / f"logits_{self._jobs}.npy"),
            threads=chosen.threads,
            imgsz=chosen.imgsz,
            config=config,
            warmup=chosen.warmup,
            rounds=chosen.rounds,
            whole_image_rounds=chosen.whole_image_rounds,
            substitute=chosen.random,
        )
        return msgspec.structs.replace(job, **changes)

    def run(
        self, tasks: Sequence[Task], reference: Job | None, say: Say
    ) -> tuple[tuple[Case, ...], str]:
        """Measure the tasks in turn, ``repeats`` times over, prompts and whole-image mode each in a
        fresh process, and compare their masks with those of ``reference``; the second value says
        what that was.

        Going round and round, instead of all repeats of a case at once, spreads what else the
        machine does over all of them.
        """
        outcomes: dict[int, list[Outcome]] = {index: [] for index in range(len(tasks))}
        modes = [None] if self.settings.mode is None else [None, self.settings.mode]
        failures: dict[int, str] = {}
        for repeat in range(self.settings.repeats):
            for index, task in enumerate(tasks):
                if task.job is None or index in failures:
                    continue
                turn = f", round {repeat + 1} of {self.settings.repeats}"
                say(
                    f"measuring {task.case.label} on {task.case.device}"
                    + turn * (self.settings.repeats > 1)
                )
                try:
                    for mode in modes:
                        job = msgspec.structs.replace(task.job, whole_image=mode)
                        outcome = measure_in_process(job, self.folder, task.case.malloc)
                        outcomes[index].append(outcome)
                except MeasurementError as error:
                    failures[index] = str(error)
        cases = []
        expected, what = self._expected(tasks, reference, say)
        for index, task in enumerate(tasks):
            if task.job is None:
                cases.append(task.case)
            elif index in failures:
                failed = msgspec.structs.replace(task.case, status="failed", note=failures[index])
                cases.append(failed)
            else:
                case = _filled(task.case, outcomes[index])
                cases.append(_compared(case, expected, _logits(Path(task.job.logits))))
        return tuple(cases), what

    def _expected(
        self, tasks: Sequence[Task], reference: Job | None, say: Say
    ) -> tuple[NDArray[np.float32] | None, str]:
        """Logits of the torch reference and what it is, or ``None`` and why there is none."""
        if reference is None:
            return None, "none given"
        # Torch on the CPU may be one of the cases, and is not run a second time then.
        logits = [
            Path(task.job.logits)
            for task in tasks
            if task.job and (task.job.runtime, task.job.device) == ("torch", "cpu")
        ]
        try:
            if not any(path.is_file() for path in logits):
                say("running the torch reference")
                measure_in_process(reference, self.folder)
                logits = [Path(reference.logits)]
        except MeasurementError as error:
            return None, f"none, torch failed: {error}"
        found = next(path for path in logits if path.is_file())
        return _logits(found), "the same weights in torch, float32, on the CPU"

    def reference(self, checkpoint: Path, **changes: Any) -> Job:
        """The job of the torch reference, of which only the masks are wanted."""
        torch = {"runtime": "torch", "warmup": 0, "rounds": 1}
        return self.job("samdeploy", checkpoint, **{**torch, **changes})

    def report(self, kind: str, model: str | Path, cases: Sequence[Case], reference: str) -> Report:
        return Report(
            schema_version=SCHEMA_VERSION,
            kind=kind,
            created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            model=Path(model).name,
            reference=reference,
            weights=DESCRIPTION if self.settings.random else "checkpoint",
            conditions=self.conditions,
            environment=read_environment(),
            devices=detect_devices(runtime_states()),
            cases=tuple(cases),
            published=PUBLISHED,
        )


@contextmanager
def workbench(settings: Settings) -> Iterator[Workbench]:
    folder = Path(tempfile.mkdtemp(prefix="samdeploy-benchmark-"))
    try:
        yield Workbench(folder, settings)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _told(config: Mapping[str, Any] | str | Path | None) -> dict[str, Any] | None:
    """A configuration as a report holds it: a file may say something else the next time."""
    if config is None:
        return None
    from samdeploy.models.load import read_config  # here: it needs torch, as such a checkpoint does

    told: dict[str, Any] = json.loads(json.dumps(read_config(config), default=str))
    return told


def _image(source: str | Path | None) -> NDArray[np.uint8]:
    return generate_scene(0, IMAGE_SIZE).image if source is None else load_image(source)


def _filled(case: Case, outcomes: Sequence[Outcome]) -> Case:
    """The samples of all processes in one case."""
    first = outcomes[0]
    seconds: dict[str, list[float]] = {}
    peaks: dict[str, int] = {}
    for outcome in outcomes:
        for name, samples in outcome.seconds.items():
            seconds.setdefault(name, []).extend(samples)
        for name, peak in outcome.peaks.items():
            peaks[name] = max(peak, peaks.get(name, 0))
    return msgspec.structs.replace(
        case,
        provider=first.provider,
        artifact_bytes=first.artifact_bytes,
        timings={name: Statistics.of(samples) for name, samples in seconds.items()},
        peaks=peaks,
        gpu_peak_bytes=max(
            (o.gpu_peak_bytes for o in outcomes if o.gpu_peak_bytes is not None), default=None
        ),
        masks=next((o.masks for o in outcomes if o.masks is not None), None),
    )


def _logits(path: Path) -> NDArray[np.float32] | None:
    return np.load(path) if path.is_file() else None


def _compared(
    case: Case, expected: NDArray[np.float32] | None, found: NDArray[np.float32] | None
) -> Case:
    if expected is None or found is None:
        return case
    iou = mask_iou(expected, found)
    return msgspec.structs.replace(
        case, mask_iou_mean=float(iou.mean()), mask_iou_min=float(iou.min())
    )
