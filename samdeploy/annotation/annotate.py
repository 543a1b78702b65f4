"""A folder of images to a labelled data set: a detector's boxes, SAM's masks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from samdeploy.annotation.plan import plan
from samdeploy.annotation.report import Report
from samdeploy.annotation.request import Request
from samdeploy.annotation.run import run
from samdeploy.detections import Detector
from samdeploy.options import options_of
from samdeploy.sam import SAM


@dataclass(frozen=True)
class AnnotationSummary:
    """Outcome of a run.

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
    unmatched: float = 0.5,
    format: str = "yolo",
    names: str | PathLike[str] | None = None,
    val: float = 0.0,
    min_area: int = 0,
    simplify: float = 0.0,
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
    **options: Any,
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
            side in pixels (by default its own, where it takes but one), most objects per image.
        classes: ids of the classes to label; all by default.
        output_dir: where labels go; by default the folder ``labels`` beside ``data``.
        boxes: labels that exist already, instead of a detector: a folder of YOLO files, or a COCO
            file.
        unmatched: largest share of the images that ``boxes`` may say nothing about; these have no
            objects.
        format: ``yolo``, ``coco``, ``labelme`` or ``png``, or a format of another package.
        names: text file with one class name a line, or Ultralytics' YAML file of a data set; by
            default those that come with the boxes.
        val: share of the images for validation; with it, ``output_dir`` becomes a data set with
            ``images`` and ``labels`` in ``train`` and ``val``.
        min_area: masks, and holes and islands of masks, below this many pixels are left out.
        simplify: largest distance in pixels that an outline may move to have fewer corners.
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
        options: of the format: ``segmentation`` of COCO, ``rle`` (exact, the default) or
            ``polygon``, and what formats of other packages have. For ``det_model="none"``: see
            :class:`~samdeploy.whole_image.settings.WholeImageSettings`.

    Raises:
        SamDeployError: nothing was done; the message says what to change.
    """
    given = locals()  # the arguments, as long as nothing else has a name here
    started = time.perf_counter()
    todo = plan(Request(**{name: given[name] for name in options_of(Request)}, others=options))
    report = Report(todo.total, progress, log)
    records = run(todo, report)
    return AnnotationSummary(
        todo.root,
        todo.total,
        report.resumed,
        report.failed,
        sum(len(record.classes) for record in records),
        time.perf_counter() - started,
        tuple(report.notices),
    )
