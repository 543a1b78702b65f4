"""A run of a plan: models are opened, and images are labelled here or elsewhere."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from samdeploy.annotation.boxes import BoxSource, DetectorBoxes, WholeImage, open_labels
from samdeploy.annotation.dataset import Dataset
from samdeploy.annotation.journal import Record
from samdeploy.annotation.labelling import label
from samdeploy.annotation.listing import describe_images
from samdeploy.annotation.models import identify, identify_detector, whole_image_settings
from samdeploy.annotation.other_options import FOUND
from samdeploy.annotation.plan import Plan
from samdeploy.annotation.report import Report
from samdeploy.annotation.work import Work
from samdeploy.annotation.worker import Worker
from samdeploy.sam import SAM


def run(plan: Plan, report: Report) -> list[Record]:
    """The records of the images that have labels now.

    Raises:
        SamDeployError: a model cannot be opened, or the output folder not be written to.
    """
    request, models = plan.request, plan.models
    with ExitStack() as opened:
        source = _open_source(plan, opened)
        sam = models.open_sam(opened)
        dataset = plan.dataset(source)
        settings = _settings(plan, source, sam, dataset)
        open_worker = partial(Worker, sam, source, dataset, request.steps)
        if plan.engine.elsewhere:
            opened.close()  # opened for the checks and the settings; workers open their own
            theirs = None if request.mode == "detector" else source
            open_worker = partial(models.open_worker, theirs, dataset, request.steps)
        for sentence in source.notices:
            report.notice(sentence)
        for image, reason in plan.nameless.items():
            report.left_out(image, reason)
        return label(
            plan,
            source,
            dataset,
            settings,
            lambda left: plan.engine.run(Work(left, open_worker, request.cluster)),
            report,
        )


def _open_source(plan: Plan, opened: ExitStack) -> BoxSource:
    """Where boxes come from; what has to be closed is left to ``opened``."""
    request = plan.request
    if request.boxes is not None:
        return open_labels(Path(request.boxes), plan.images, request.unmatched)
    detector = plan.models.open_detector(opened)
    return WholeImage() if detector is None else DetectorBoxes(detector)


def _settings(plan: Plan, source: BoxSource, sam: SAM, dataset: Dataset) -> dict[str, Any]:
    """Everything that labels depend on."""
    request, detector = plan.request, plan.models.detector
    found = {
        # A split depends on all images, so they must stay the same; without one, more may come.
        "images": describe_images([*dataset.images]) if plan.splits else None,
        "boxes": {"from": request.mode, **source.facts},
        "detector": (
            None
            if detector is None
            else {**identify_detector(detector), **request.detector_settings}
        ),
        "sam_model": identify(sam),
        "whole_image": (
            whole_image_settings(sam, request.whole_image)
            if request.mode == "whole image"
            else None
        ),
        "names": dataset.names,
        "category_ids": dataset.category_ids,
    }
    assert found.keys() == set(FOUND), "a name that a format's option may not have is missing"
    return {**request.settings(), **found}
