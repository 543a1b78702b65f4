"""Asks for objects at set frames, in place of a person or a detector: ``SCRIPT`` is a JSON list of
``{"frame": 0, "add": {"box": [x1, y1, x2, y2]}}`` and ``{"frame": 60, "remove": 1}``.

Its input ``image`` tells the frames, which are counted where they have no number; it sends ``add``
and ``remove`` as the segmenter takes them.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import pyarrow as pa

from samdeploy.errors import InputError, SamDeployError
from samdeploy.limits import whole
from samdeploy.runtimes.dora.events import batches, connect
from samdeploy.text import shown


def read_script(text: str) -> list[tuple[int, str, Any]]:
    """(frame, ``add`` or ``remove``, what) in the order of the frames.

    Raises:
        InputError: it is no such list.
    """
    expected = 'expected a JSON list of {"frame": 0, "add": {...}} or {"frame": 60, "remove": 1}'
    try:
        steps = json.loads(text)
    except ValueError as error:
        raise InputError(f"SCRIPT={text}; {expected}.") from error
    found: list[tuple[int, str, Any]] = []
    for step in steps if isinstance(steps, list) else [steps]:
        kinds = {"add", "remove"}.intersection(step) if isinstance(step, dict) else set()
        if len(kinds) != 1 or set(step) != {"frame", *kinds}:
            raise InputError(f"{shown(step)} in SCRIPT; {expected}.")
        [kind] = kinds
        found.append((whole("frame", step["frame"], 0), kind, step[kind]))
    return sorted(found, key=lambda step: step[0])


def main() -> None:
    steps = read_script(os.environ.get("SCRIPT") or "[]")
    node, frame = connect(), -1
    for events in batches(node, until="image"):
        for event in events:
            told = event["metadata"].get("frame")
            frame = told if isinstance(told, int) else frame + 1
            while steps and steps[0][0] <= frame:
                _, kind, what = steps.pop(0)
                node.send_output(kind, pa.array([what]))


if __name__ == "__main__":
    try:
        main()
    except SamDeployError as error:
        sys.exit(str(error))
