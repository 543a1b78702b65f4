"""The labels: of every image that is left to do, and then about the whole data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from samdeploy.annotation.boxes import BoxSource
from samdeploy.annotation.dataset import Dataset
from samdeploy.annotation.journal import Journal, Record
from samdeploy.annotation.matching import count_of, examples
from samdeploy.annotation.plan import Plan
from samdeploy.annotation.previews import draw_contact_sheet
from samdeploy.annotation.report import Report
from samdeploy.annotation.request import FIXED
from samdeploy.annotation.resume import find_left
from samdeploy.annotation.worker import preview_place
from samdeploy.annotation.writers import find_writer

_CONTACT_SHEET = "contact_sheet.jpg"


def label(
    plan: Plan,
    source: BoxSource,
    dataset: Dataset,
    settings: Mapping[str, Any],
    work: Callable[[Sequence[Path]], Iterator[Record]],
    report: Report,
) -> list[Record]:
    """The records of the images that have labels now; ``work`` gives one for every path that it is
    given.

    Raises:
        OutputError: the output folder cannot be written to.
        InputError: it is of a run of another kind, or in use.
    """
    paths, steps, store = plan.images, plan.request.steps, dataset.store
    store.create()
    with Journal(store.state, settings, FIXED) as journal:
        store.sweep()
        if journal.damaged:
            report.notice(
                f"{count_of(journal.damaged, 'line', 'lines')} of the journal could not be read: "
                "the images that they were about are done again."
            )
        left, notices = find_left(paths, journal, source, store.root)
        for sentence in notices:
            report.notice(sentence)
        report.resume(len(paths) - len(left))
        for record in work(left):
            before = journal.last(record.image)
            if before:
                store.remove(set(before.outputs) - set(record.outputs))
            journal.append(record)
            if record.error:
                report.left_out(record.image, record.error)
            else:
                report.done()
        store.sweep()  # a worker may have died at its work
        records = [journal.records[path.name] for path in paths]
        complete = [record for record in records if not record.error]
        _tell_dropped(complete, report)
        find_writer(steps.format)(dataset, steps.format_options).finish(complete)
        if steps.previews and complete:
            pictures = [store.root / preview_place(record.image) for record in complete]
            store.write(_CONTACT_SHEET, draw_contact_sheet(pictures))
        else:
            store.remove([_CONTACT_SHEET])
    return complete


def _tell_dropped(records: Sequence[Record], report: Report) -> None:
    of = [record.image for record in records if record.dropped]
    if of:
        boxes = count_of(sum(record.dropped for record in records), "box", "boxes")
        report.notice(
            f"{boxes} gave no object, having no area in the image or an empty mask "
            f"({examples(of)})."
        )
