"""How the models of a run are opened: by the process that started it, or by its workers."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

from samdeploy.annotation.boxes import BoxSource, DetectorBoxes
from samdeploy.annotation.dataset import Dataset
from samdeploy.annotation.digests import digest_of, file_digest
from samdeploy.annotation.steps import Steps
from samdeploy.annotation.worker import Worker
from samdeploy.bundle import read_manifest
from samdeploy.detections import Detector
from samdeploy.errors import InputError
from samdeploy.sam import SAM
from samdeploy.whole_image.settings import WholeImageSettings


@dataclass(frozen=True)
class Models:
    """``sam`` and ``detector`` by path or name, or open already; ``detector`` is ``None`` where
    boxes come from elsewhere.

    Attributes:
        settings: of the detector, see :func:`samdeploy.yolo.detector.open_detector`.
        runtime, device, threads: see :class:`SAM`; the device is the detector's as well.
    """

    sam: str | PathLike[str] | SAM
    detector: str | PathLike[str] | Detector | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    runtime: str | None = None
    device: str = ""
    threads: int | None = None

    def open_sam(self, opened: ExitStack | None = None) -> SAM:
        """``opened`` closes it, unless it was open already."""
        if isinstance(self.sam, SAM):
            return self.sam
        sam = SAM(
            _name(self.sam),
            runtime=self.runtime,
            device=self.device or "auto",
            threads=self.threads,
        )
        if opened is not None:
            opened.callback(sam.close)
        return sam

    def open_detector(self, opened: ExitStack | None = None) -> Detector | None:
        """``opened`` closes it, unless it was open already."""
        if self.detector is None or not isinstance(self.detector, (str, PathLike)):
            return self.detector
        # Here and not above: whoever needs no detector should not load one's code.
        from samdeploy.yolo.detector import open_detector

        detector = open_detector(
            _name(self.detector), device=self.device or "auto", **self.settings
        )
        if opened is not None:
            opened.callback(detector.close)
        return detector

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


def identify(sam: SAM) -> dict[str, Any]:
    """Identify a model, and its way of running."""
    facts = sam.info(verbose=False)
    wanted = ("runtime", "device", "providers", "image_size", "architecture", "format", "precision")
    return {
        "weights": _weights(sam.source),
        **{name: facts[name] for name in wanted if name in facts},
    }


def whole_image_settings(sam: SAM, given: Mapping[str, Any]) -> dict[str, Any]:
    """All settings that masks depend on, ``given`` or what the model recommends."""
    recommended = sam.info(verbose=False)["whole_image"]
    chosen = dict(vars(WholeImageSettings.from_names(given, recommended)))
    if chosen["proposals"] is None:
        del chosen["proposals"]  # as before there was this setting
    else:
        chosen["proposals"] = identify_detector(chosen["proposals"])
    return {name: value for name, value in chosen.items() if name != "points_batch_size"}


def identify_detector(model: str | PathLike[str] | Detector) -> dict[str, Any]:
    """The same of a detector; of an object of somebody else's, only its type is known."""
    if isinstance(model, (str, PathLike)):
        return {"weights": _weights(Path(model))}
    return {"type": type(model).__qualname__}


def _weights(path: Path) -> str:
    """A digest of a checkpoint, or of all files of a bundle, whose hashes were checked when it was
    opened."""
    if path.is_dir():
        digest = digest_of(file.sha256.encode() for file in read_manifest(path).files)
    else:
        digest = file_digest(path) if path.is_file() else ""
    return digest[:12]


def _name(model: str | PathLike[str]) -> str | Path:
    return model if isinstance(model, str) else Path(model)


def _absolute(model: Any) -> str | Path:
    """A known name, of which there is no file here, stays as it is."""
    path = Path(model)
    return path.resolve() if path.exists() else _name(model)
