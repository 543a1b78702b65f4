"""A folder of images to a labelled data set: a detector's boxes, SAM's masks."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from samdeploy.annotation.boxes import (
    BoxSource,
    Detector,
    DetectorBoxes,
    WholeImage,
    open_labels,
)
from samdeploy.annotation.classes import read_names
from samdeploy.annotation.dataset import Dataset, make_splits
from samdeploy.annotation.engines import Work, find_engine
from samdeploy.annotation.journal import Journal, Record
from samdeploy.annotation.models import Models
from samdeploy.annotation.previews import draw_contact_sheet
from samdeploy.annotation.request import (
    check_classes,
    check_cluster,
    check_free,
    check_mode,
    check_numbers,
    choose_mode,
    default_output,
    list_images,
)
from samdeploy.annotation.store import Store
from samdeploy.annotation.worker import Steps, Worker, preview_place
from samdeploy.annotation.writers import find_writer
from samdeploy.errors import InputError
from samdeploy.sam import SAM


@dataclass(frozen=True)
class AnnotationSummary:
    """What a run did.

    Attributes:
        output_dir: the folder written.
        images: images found.
        resumed: of these, done by an earlier run and left as they were.
        failed: images left out, each with the reason.
        objects: labelled objects in all images.
        seconds: time that this run took.
    """

    output_dir: Path
    images: int
    resumed: int
    failed: Mapping[str, str] = field(default_factory=dict)
    objects: int = 0
    seconds: float = 0.0

    @property
    def labelled(self) -> int:
        """Images with labels, those of earlier runs included."""
        return self.images - len(self.failed)


def auto_annotate(
    data: str | PathLike[str],
    det_model: str | PathLike[str] | Detector = "yolov8x.pt",
    sam_model: str | PathLike[str] | SAM = "sam_b.pt",
    device: str = "",
    conf: float = 0.25,
    iou: float = 0.45,
    imgsz: int = 640,
    max_det: int = 300,
    classes: Sequence[int] | None = None,
    output_dir: str | PathLike[str] | None = None,
    *,
    boxes: str | PathLike[str] | None = None,
    format: str = "yolo",
    names: str | PathLike[str] | None = None,
    val: float = 0.0,
    min_area: int = 0,
    simplify: float = 0.0,
    segmentation: str = "rle",
    previews: bool = False,
    zoom: bool = False,
    engine: str = "local",
    workers: int | Sequence[int] | None = None,
    worker_cpus: float | None = None,
    worker_gpus: float | None = None,
    runtime: str | None = None,
    threads: int | None = None,
    progress: Callable[[int, int, int], None] | None = None,
    log: Callable[[str], None] | None = None,
    **whole_image: Any,
) -> AnnotationSummary:
    """Label every image of ``data``.

    The first ten arguments are those of Ultralytics' function of this name. A run that was stopped,
    however, goes on where it was when called again with the same arguments. An image that cannot be
    read is left out and reported; the next run tries it again.

    Args:
        data: a folder of images, or a glob pattern.
        det_model: a detection model by path or name, an object of the :class:`Detector` protocol,
            or ``none``: the whole image is segmented, and everything is of class 0.
        sam_model: a bundle folder, a checkpoint by path or name, or an open :class:`SAM`.
        device: where both models run; empty or ``auto`` is the runtime's choice.
        conf, iou, imgsz, max_det: of the detector: least confidence, overlap of duplicates, input
            side in pixels, most objects per image.
        classes: ids of the classes to label; all by default.
        output_dir: where labels go; by default the folder ``labels`` beside ``data``.
        boxes: labels that exist already, instead of a detector: a folder of YOLO files, or a COCO
            file.
        format: ``yolo``, ``coco``, ``labelme`` or ``png``.
        names: text file with one class name a line; by default those that come with the boxes.
        val: share of the images for validation; with it, ``output_dir`` becomes a data set with
            ``images`` and ``labels`` in ``train`` and ``val``.
        min_area: masks, and holes and islands of masks, below this many pixels are left out.
        simplify: largest distance in pixels that an outline may move to have fewer corners.
        segmentation: of COCO: ``rle`` (exact) or ``polygon``.
        previews: also draw every image with its masks, and a contact sheet.
        zoom: segment objects that are small in the image from an enlarged part of it: more exact
            outlines, for one more encoder run a part; see :mod:`samdeploy.zoom`.
        engine: what does the work: ``local``, this process, or ``ray``, workers of a Ray cluster;
            these see images, models and output at the same absolute paths.
        workers: of Ray: their number, or the fewest and the most; by default from one to as many
            as find room.
        worker_cpus, worker_gpus: of Ray: what each worker keeps for itself, by default one CPU.
        runtime, threads: of ``sam_model``, see :class:`SAM`; Ray's workers have as many threads as
            CPUs unless told.
        progress: called with images done (by earlier runs included), done by earlier runs, and all.
        log: called with a sentence for every image left out.
        whole_image: for ``det_model="none"``: see
            :class:`~samdeploy.settings.WholeImageSettings`.

    Raises:
        SamDeployError: nothing was done; the message says what to change.
    """
    started = time.perf_counter()
    detector_settings = {"conf": conf, "iou": iou, "imgsz": imgsz, "max_det": max_det}
    check_numbers(detector_settings, min_area, simplify, val)
    wanted = check_classes(classes)
    if segmentation not in ("rle", "polygon"):
        raise InputError(f"segmentation={segmentation}; expected rle or polygon.")
    find_writer(format)
    chosen = find_engine(engine)
    cluster = check_cluster(chosen, workers, worker_cpus, worker_gpus)
    mode = choose_mode(det_model, boxes)
    check_mode(mode, detector_settings, zoom, whole_image)
    own_names = None if names is None else read_names(Path(names))

    paths = list_images(data)
    known = [path.name for path in paths]
    root = Path(output_dir) if output_dir else default_output(Path(data))
    splits = make_splits(known, val)
    if val and len(paths) < 2:
        raise InputError(f"val={val:g} of one image; expected two images or more to split.")
    check_free(root)

    models = Models(
        sam_model,
        det_model if mode == "detector" else None,
        {**detector_settings, "classes": None if wanted is None else sorted(wanted)},
        runtime,
        device,
        threads,
    )
    if chosen.elsewhere:
        models = models.for_other_processes(max(1, int(cluster.cpus)))
    chosen.check()
    source = _open_source(boxes, known, models)
    sam = models.open_sam()
    try:
        store = Store(root.absolute())
        dataset = Dataset(
            store,
            source.names if own_names is None else own_names,
            source.category_ids,
            sorted({path.parent for path in paths}),
            splits,
            simplify,
            segmentation,
        )
        steps = Steps(format, wanted, min_area, previews, zoom, whole_image)
        settings = {
            "data": str(Path(data).resolve()),
            "boxes": str(Path(boxes).resolve()) if boxes is not None else None,
            "det_model": _named(det_model) if mode == "detector" else None,
            **(detector_settings if mode == "detector" else {}),
            "sam_model": _identity(sam),
            "classes": None if wanted is None else sorted(wanted),
            "format": format,
            "names": dict(own_names or {}),
            "val": val,
            # A split depends on all images, so they must stay the same; without one, more may come.
            "images": hashlib.sha256("\n".join(known).encode()).hexdigest() if splits else None,
            "min_area": min_area,
            "simplify": simplify,
            "segmentation": segmentation if format == "coco" else None,
            "previews": previews,
            "zoom": zoom,
            "whole_image": {name: _plain(value) for name, value in sorted(whole_image.items())},
        }
        if chosen.elsewhere:
            sam.close()  # it was opened for the checks and the settings; workers open their own
            theirs = None if mode == "detector" else source
            open_worker = partial(models.open_worker, theirs, dataset, steps)
        else:
            open_worker = partial(Worker, sam, source, dataset, steps)
        store.create()
        with Journal(store.state, settings) as journal:
            store.sweep()
            done = {name for name in known if _is_done(journal.records.get(name), root)}
            resumed, total = len(done), len(paths)
            left = [path for path in paths if path.name not in done]
            count = resumed
            if progress:
                progress(count, resumed, total)
            for record in chosen.run(Work(left, open_worker, cluster)):
                journal.append(record)
                count += 1
                if record.error and log:
                    log(f"{record.image} was left out: {record.error}")
                if progress:
                    progress(count, resumed, total)
            store.sweep()  # a worker may have died at its work
            records = [journal.records[name] for name in known]
            complete = [record for record in records if not record.error]
            find_writer(format)(dataset).finish(complete)
            if previews and complete:
                pictures = [root / preview_place(record.image) for record in complete]
                store.write("contact_sheet.jpg", draw_contact_sheet(pictures))
    finally:
        if sam is not sam_model:
            sam.close()
    return AnnotationSummary(
        root,
        total,
        resumed,
        {record.image: record.error for record in records if record.error},
        sum(len(record.classes) for record in complete),
        time.perf_counter() - started,
    )


def _open_source(
    boxes: str | PathLike[str] | None, images: Sequence[str], models: Models
) -> BoxSource:
    if boxes is not None:
        return open_labels(Path(boxes), images)
    detector = models.open_detector()
    return WholeImage() if detector is None else DetectorBoxes(detector)


def _named(model: object) -> str:
    return str(model) if isinstance(model, (str, PathLike)) else type(model).__qualname__


def _identity(sam: SAM) -> dict[str, Any]:
    """What tells one model and its way of running from another."""
    facts = sam.info(verbose=False)
    wanted = ("runtime", "device", "providers", "image_size", "architecture", "format", "precision")
    return {"name": sam.source.name, **{name: facts[name] for name in wanted if name in facts}}


def _plain(value: Any) -> Any:
    """A setting as JSON knows it: a number, or the grids of points."""
    if isinstance(value, (int, float)):
        return value
    return [np.asarray(grid, float).tolist() for grid in value]


def _is_done(record: Record | None, root: Path) -> bool:
    """Whether an earlier run finished this image, and its files are still there."""
    if record is None or record.error:
        return False
    return all((root / name).is_file() for name in record.outputs)
