"""Images that are left to do in a folder that an earlier run wrote to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from samdeploy.annotation.boxes import BoxSource
from samdeploy.annotation.digests import file_digest
from samdeploy.annotation.journal import Journal
from samdeploy.annotation.matching import examples
from samdeploy.errors import InputError

_THREADS = 4


def find_left(
    paths: Sequence[Path], journal: Journal, source: BoxSource, root: Path
) -> tuple[list[Path], list[str]]:
    """Leave out every image that was done with the same settings, from the same file and boxes, and
    whose labels are there. The others are to be done, again or for the first time: they, and
    sentences on why it is again."""
    with ThreadPoolExecutor(_THREADS) as pool:
        states = list(pool.map(partial(_state, journal=journal, source=source, root=root), paths))
    again: dict[str, list[str]] = defaultdict(list)
    for path, state in zip(paths, states, strict=True):
        if state:
            again[state].append(path.name)
    notices = [
        f"{len(names)} image{'s are' if len(names) > 1 else ' is'} done again: {reason} "
        f"({examples(names)})."
        for reason, names in again.items()
    ]
    left = [path for path, state in zip(paths, states, strict=True) if state is not None]
    return left, notices


def _state(path: Path, journal: Journal, source: BoxSource, root: Path) -> str | None:
    """``None`` for an image that is done, else why it is done again; empty for the first time."""
    record = journal.records.get(path.name)
    if record is None:
        earlier = journal.earlier.get(path.name)
        return journal.changes(path.name) if earlier and not earlier.error else ""
    if record.error:
        return ""
    if not all((root / name).is_file() for name in record.outputs):
        return "its files are gone"
    try:
        if file_digest(path) != record.image_digest:
            return "the image changed"
        if source.digest(path) != record.boxes_digest:
            return "its boxes changed"
    except (OSError, InputError):
        return "it cannot be read any more"
    return None
