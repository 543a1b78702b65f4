"""A folder of images to a labelled data set: a detector's boxes, SAM's masks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from samdeploy.annotation.boxes import BoxSource, DetectorBoxes, WholeImage, open_labels
from samdeploy.annotation.classes import read_names
from samdeploy.annotation.dataset import Dataset, make_splits
from samdeploy.annotation.engines import find_engine
from samdeploy.annotation.labelling import label
from samdeploy.annotation.models import (
    Models,
    identify,
    identify_detector,
    whole_image_settings,
)
from samdeploy.annotation.report import Report
from samdeploy.annotation.request import (
    UNMATCHED,
    check_classes,
    check_cluster,
    check_free,
    check_mode,
    check_numbers,
    choose_mode,
    default_output,
    describe_images,
    list_images,
)
from samdeploy.annotation.store import Store
from samdeploy.annotation.work import Work
from samdeploy.annotation.worker import Steps, Worker
from samdeploy.annotation.writers.options import chosen_options
from samdeploy.detections import Detector
from samdeploy.errors import InputError
from samdeploy.image_options import ImageOptions
from samdeploy.sam import SAM
from samdeploy.text import as_utf8


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
        notices: sentences on what else was not as one might think: boxes that fit no image, images
            that were done again and why.
    """

    output_dir: Path
    images: int
    resumed: int
    failed: Mapping[str, str] = field(default_factory=dict)
    objects: int = 0
    seconds: float = 0.0
    notices: tuple[str, ...] = ()

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
    unmatched: float = UNMATCHED,
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
    bit_depth: int | None = None,
    window: Sequence[float] | None = None,
    max_pixels: int | None = None,
    runtime: str | None = None,
    threads: int | None = None,
    progress: Callable[[int, int, int], None] | None = None,
    log: Callable[[str], None] | None = None,
    **whole_image: Any,
) -> AnnotationSummary:
    """Label every image of ``data``.

    The first ten arguments are those of Ultralytics' function of this name. A run that was stopped,
    however, goes on where it was when called again. What was made from other boxes, another image,
    model or setting is made again. An image that cannot be read is left out and reported; the next
    run tries it again.

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
        unmatched: largest share of the images that ``boxes`` may say nothing about; these have no
            objects.
        format: ``yolo``, ``coco``, ``labelme`` or ``png``.
        names: text file with one class name a line, or Ultralytics' YAML file of a data set; by
            default those that come with the boxes.
        val: share of the images for validation; with it, ``output_dir`` becomes a data set with
            ``images`` and ``labels`` in ``train`` and ``val``.
        min_area: masks, and holes and islands of masks, below this many pixels are left out.
        simplify: largest distance in pixels that an outline may move to have fewer corners.
        segmentation: of COCO: ``rle`` (exact) or ``polygon``.
        previews: also draw every image with its masks, and a contact sheet.
        zoom: segment objects that are small in the image from an enlarged part of it: more exact
            outlines, for one more encoder run a part; see :mod:`samdeploy.annotation.zoom`.
        engine: what does the work: ``local``, this process, or ``ray``, workers of a Ray cluster;
            these see images, models and output at the same absolute paths.
        workers: of Ray: their number, or the fewest and the most; by default from one to as many
            as find room.
        worker_cpus, worker_gpus: of Ray: what each worker keeps for itself, by default one CPU.
        bit_depth, window, max_pixels: how images of more than 8 bits become 8 bits, and how large
            an image may be, see :class:`~samdeploy.image_options.ImageOptions`.
        runtime, threads: of ``sam_model``, see :class:`SAM`; Ray's workers have as many threads as
            CPUs unless told.
        progress: called with images done (by earlier runs included), done by earlier runs, and all.
        log: called with a sentence for every image left out. What else is not as one might think
            goes to the logger ``samdeploy``, and is in the summary.
        whole_image: for ``det_model="none"``: see
            :class:`~samdeploy.whole_image.settings.WholeImageSettings`.

    Raises:
        SamDeployError: nothing was done; the message says what to change.
    """
    started = time.perf_counter()
    detector_settings = {"conf": conf, "iou": iou, "imgsz": imgsz, "max_det": max_det}
    check_numbers(detector_settings, min_area, simplify, val, unmatched)
    wanted = check_classes(classes)
    format_options = chosen_options(format, {"segmentation": segmentation})
    chosen = find_engine(engine)
    cluster = check_cluster(chosen, workers, worker_cpus, worker_gpus)
    mode = choose_mode(det_model, boxes)
    check_mode(mode, detector_settings, unmatched, zoom, whole_image)
    own_names = None if names is None else read_names(Path(names))

    images = ImageOptions(bit_depth, window, max_pixels)
    paths, nameless = list_images(data)
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
    report = Report(len(paths) + len(nameless), progress, log)
    with ExitStack() as opened:
        source = _open_source(boxes, paths, unmatched, models, opened)
        sam = models.open_sam(opened)
        dataset = Dataset(
            Store(root.absolute()),
            source.names if own_names is None else own_names,
            source.category_ids,
            source.image_ids,
            dict(zip(known, paths, strict=True)),
            splits,
            simplify,
        )
        steps = Steps(format, format_options, wanted, min_area, previews, zoom, whole_image, images)
        settings = {
            "data": as_utf8(str(Path(data).resolve())),
            "format": format,
            "val": val,
            # A split depends on all images, so they must stay the same; without one, more may come.
            "images": describe_images(known) if splits else None,
            "bit_depth": images.bit_depth,
            "window": images.window,
            "boxes": {"from": mode, **source.facts},
            "detector": (
                {**identify_detector(models.detector), **detector_settings}
                if models.detector is not None
                else None
            ),
            "sam_model": identify(sam),
            "whole_image": whole_image_settings(sam, whole_image)
            if mode == "whole image"
            else None,
            "classes": None if wanted is None else sorted(wanted),
            "names": dataset.names,
            "category_ids": dataset.category_ids,
            "min_area": min_area,
            "simplify": simplify,
            **asdict(format_options),
            "previews": previews,
            "zoom": zoom,
        }
        if chosen.elsewhere:
            opened.close()  # opened for the checks and the settings; workers open their own
            theirs = None if mode == "detector" else source
            open_worker = partial(models.open_worker, theirs, dataset, steps)
        else:
            open_worker = partial(Worker, sam, source, dataset, steps)
        for sentence in source.notices:
            report.notice(sentence)
        for image, reason in nameless.items():
            report.left_out(image, reason)
        records = label(
            paths,
            source,
            dataset,
            steps,
            settings,
            lambda left: chosen.run(Work(left, open_worker, cluster)),
            report,
        )
    return AnnotationSummary(
        root,
        len(paths) + len(nameless),
        report.resumed,
        report.failed,
        sum(len(record.classes) for record in records),
        time.perf_counter() - started,
        tuple(report.notices),
    )


def _open_source(
    boxes: str | PathLike[str] | None,
    images: Sequence[Path],
    unmatched: float,
    models: Models,
    opened: ExitStack,
) -> BoxSource:
    """Where boxes come from; what has to be closed is left to ``opened``."""
    if boxes is not None:
        return open_labels(Path(boxes), images, unmatched)
    detector = models.open_detector(opened)
    return WholeImage() if detector is None else DetectorBoxes(detector)
