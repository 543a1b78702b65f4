"""The command ``annotate``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import typer

from samdeploy.annotation.annotate import AnnotationSummary, auto_annotate
from samdeploy.annotation.request import Request
from samdeploy.cli.console import image_progress, print_json
from samdeploy.cli.fields import Command, takes_options, takes_whole_image
from samdeploy.cli.options import Json
from samdeploy.options import NoOptions
from samdeploy.text import printable


def annotate_command(formats: Iterable[type[Any]] = ()) -> Command:
    """The command with an option for everything that can be asked of a run, and for the options of
    label formats, of which the first has precedence."""
    command = takes_whole_image(takes_options(annotate, Request, "request"))
    return takes_options(command, NoOptions, "format_options", *formats)


def annotate(request: Any, format_options: Any, whole_image: Any, as_json: Json = False) -> None:
    """Label a folder of images: a detector's boxes, SAM's masks; exit code 1 if any failed."""
    with image_progress("annotate") as (progress, log):
        summary = auto_annotate(
            **request, **format_options, **whole_image, progress=progress, log=log
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
