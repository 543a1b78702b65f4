"""How the models of a run are opened: by the process that started it, or by its workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

from samdeploy.annotation.boxes import BoxSource, Detector, DetectorBoxes
from samdeploy.annotation.dataset import Dataset
from samdeploy.annotation.worker import Steps, Worker
from samdeploy.errors import InputError
from samdeploy.sam import SAM


@dataclass(frozen=True)
class Models:
    """``sam`` and ``detector`` by path or name, or open already; ``detector`` is ``None`` where
    boxes come from elsewhere.

    Attributes:
        settings: of the detector, see :func:`samdeploy.detector.open_detector`.
        runtime, device, threads: see :class:`SAM`; the device is the detector's as well.
    """

    sam: str | PathLike[str] | SAM
    detector: str | PathLike[str] | Detector | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    runtime: str | None = None
    device: str = ""
    threads: int | None = None

    def open_sam(self) -> SAM:
        if isinstance(self.sam, SAM):
            return self.sam
        return SAM(
            _name(self.sam),
            runtime=self.runtime,
            device=self.device or "auto",
            threads=self.threads,
        )

    def open_detector(self) -> Detector | None:
        if self.detector is None or not isinstance(self.detector, (str, PathLike)):
            return self.detector
        # Here and not above: whoever needs no detector should not load one's code.
        from samdeploy.detector import open_detector

        return open_detector(_name(self.detector), device=self.device or "auto", **self.settings)

    def open_worker(self, source: BoxSource | None, dataset: Dataset, steps: Steps) -> Worker:
        """A worker with models of its own; ``source`` is ``None`` for the detector's boxes."""
        if source is None:
            detector = self.open_detector()
            assert detector is not None
            source = DetectorBoxes(detector)
        return Worker(self.open_sam(), source, dataset, steps)

    def for_other_processes(self, threads: int) -> Models:
        """The same by absolute paths, with ``threads`` where none were asked for, for the detector
        as well: a worker is not alone on its machine.

        Raises:
            InputError: a model is open already, and belongs to this process.
        """
        for name, model in (("sam_model", self.sam), ("det_model", self.detector)):
            if model is not None and not isinstance(model, (str, PathLike)):
                raise InputError(
                    f"{name} is an open {type(model).__name__}, but every worker opens its own; "
                    "give the model's path or name."
                )
        threads = self.threads or threads
        return replace(
            self,
            sam=_absolute(self.sam),
            detector=self.detector and _absolute(self.detector),
            settings={**self.settings, "threads": threads},
            threads=threads,
        )


def _name(model: str | PathLike[str]) -> str | Path:
    return model if isinstance(model, str) else Path(model)


def _absolute(model: Any) -> str | Path:
    """A known name, of which there is no file here, stays as it is."""
    path = Path(model)
    return path.resolve() if path.exists() else _name(model)
