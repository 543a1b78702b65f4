"""The command ``annotate``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from samdeploy.annotation.annotate import AnnotationSummary, auto_annotate
from samdeploy.annotation.request import UNMATCHED
from samdeploy.cli.console import image_progress, print_json
from samdeploy.cli.fields import takes_whole_image
from samdeploy.cli.options import (
    BitDepth,
    Device,
    Json,
    MaxPixels,
    Runtime,
    Threads,
    Window,
    flag,
    option,
)
from samdeploy.cli.words import parse_numbers
from samdeploy.text import printable


@takes_whole_image
def annotate(
    data: Annotated[str, option("data", help="folder of images, or a glob pattern")],
    det_model: Annotated[
        str, option("det_model", help="detection model; none: the whole image")
    ] = "yolov8x.pt",
    sam_model: Annotated[
        str, option("sam_model", help="bundle folder, checkpoint file or known name")
    ] = "sam_b.pt",
    boxes: Annotated[
        str | None, option("boxes", help="instead: folder of YOLO labels, or COCO file")
    ] = None,
    unmatched: Annotated[
        float, option("unmatched", help="largest share of images that boxes= may lack")
    ] = UNMATCHED,
    format: Annotated[str, option("format", help="yolo, coco, labelme or png")] = "yolo",
    output_dir: Annotated[
        str | None, option("output_dir", help="default: labels, beside the images' folder")
    ] = None,
    device: Device = "auto",
    conf: Annotated[float, option("conf", help="detector: least confidence")] = 0.25,
    iou: Annotated[float, option("iou", help="detector: IoU of duplicates")] = 0.45,
    imgsz: Annotated[int, option("imgsz", help="detector: input side in pixels")] = 640,
    max_det: Annotated[int, option("max_det", help="detector: most objects an image")] = 300,
    classes: Annotated[str | None, option("classes", help="ids of those to label: [0,2]")] = None,
    names: Annotated[
        str | None, option("names", help="text file, one class name a line; or data.yaml")
    ] = None,
    val: Annotated[float, option("val", help="share of images for validation")] = 0.0,
    min_area: Annotated[int, option("min_area", help="least pixels of masks and parts")] = 0,
    simplify: Annotated[float, option("simplify", help="pixels an outline may move")] = 0.0,
    segmentation: Annotated[str, option("segmentation", help="coco: rle or polygon")] = "rle",
    previews: Annotated[bool, flag("previews", help="draw the masks, and a contact sheet")] = False,
    zoom: Annotated[
        bool, flag("zoom", help="segment small objects from enlarged parts of the image")
    ] = False,
    engine: Annotated[str, option("engine", help="local, or ray: a cluster")] = "local",
    workers: Annotated[
        str | None, option("workers", help="ray: number of workers, or fewest,most")
    ] = None,
    worker_cpus: Annotated[float | None, option("worker_cpus", help="ray: CPUs of each")] = None,
    worker_gpus: Annotated[float | None, option("worker_gpus", help="ray: GPUs of each")] = None,
    runtime: Runtime = None,
    threads: Threads = None,
    bit_depth: BitDepth = None,
    window: Window = None,
    max_pixels: MaxPixels = None,
    as_json: Json = False,
    whole_image: Any = None,
) -> None:
    """Label a folder of images: a detector's boxes, SAM's masks; exit code 1 if any failed."""
    with image_progress("annotate") as (progress, log):
        summary = auto_annotate(
            data,
            det_model,
            sam_model,
            device,
            conf,
            iou,
            imgsz,
            max_det,
            parse_numbers(classes, "classes"),
            output_dir,
            boxes=boxes,
            unmatched=unmatched,
            format=format,
            names=names,
            val=val,
            min_area=min_area,
            simplify=simplify,
            segmentation=segmentation,
            previews=previews,
            zoom=zoom,
            engine=engine,
            workers=parse_numbers(workers, "workers"),
            worker_cpus=worker_cpus,
            worker_gpus=worker_gpus,
            bit_depth=bit_depth,
            window=parse_numbers(window, "window"),
            max_pixels=max_pixels,
            runtime=runtime,
            threads=threads,
            progress=progress,
            log=log,
            **whole_image,
        )
    if as_json:
        print_json({**vars(summary), "output_dir": str(summary.output_dir)})
    else:
        print(printable(_annotated(summary)))
    if summary.failed:
        raise typer.Exit(1)


def _annotated(summary: AnnotationSummary) -> str:
    fresh = summary.images - summary.resumed
    parts = [f"{summary.labelled} of {summary.images} images, {summary.objects} objects"]
    if summary.failed:
        parts.append(f"{len(summary.failed)} left out")
    if summary.resumed:
        parts.append(f"{summary.resumed} done earlier")
    pace = f"{summary.seconds:.1f} s, {fresh / summary.seconds:.2f} images/s"
    return f"{', '.join(parts)} -> {summary.output_dir} ({pace})"
