"""The dataflow of runtimes/dora/flow.yml as dora runs it: 200 frames of a video."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from samdeploy import SAM, Prompt
from samdeploy.moving_scenes import moving_scene
from samdeploy.tracking.frames import Frame

pytest.importorskip("dora")
reader = pytest.importorskip("mcap.reader")

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
FRAMES = 200


def clip() -> tuple[list[NDArray[np.uint8]], list[list[float]]]:
    """Frames of a scene that goes on and back again, and boxes of three objects in the first."""
    scene = list(moving_scene(3, 50))
    there_and_back = [frame.image for frame in (*scene, *scene[::-1])]
    boxes = []
    for index in (3, 5, 7):
        y, x = np.nonzero(scene[0].masks[index])
        boxes.append([float(v) for v in (x.min(), y.min(), x.max() + 1, y.max() + 1)])
    return there_and_back * (FRAMES // len(there_and_back)), boxes


def run(folder: Path, **environment: str) -> dict[str, list[Any]]:
    """The messages of the recording, by topic."""
    flow = (ROOT / "runtimes/dora/flow.yml").read_text()
    (folder / "flow.yml").write_text(flow.replace("RATE: 30", "RATE: 60"))
    ours = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "RECORD": str(folder / "r.mcap")}
    done = subprocess.run(
        ["dora", "run", "flow.yml"],
        cwd=folder,
        env={**os.environ, **ours, **environment},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found: dict[str, list[Any]] = {}
    with (folder / "r.mcap").open("rb") as file:
        for _, channel, message in reader.make_reader(file).iter_messages():
            found.setdefault(channel.topic, []).append(json.loads(message.data))
    return found


@pytest.mark.slow
@pytest.mark.exporting
@pytest.mark.skipif(not (BIN / "dora").exists(), reason="the command dora is not installed")
def test_the_dataflow(tiny_bundle: Path, tmp_path: Path) -> None:
    images, boxes = clip()
    size = (images[0].shape[1], images[0].shape[0])
    video = cv2.VideoWriter(str(tmp_path / "c.avi"), cv2.VideoWriter.fourcc(*"FFV1"), 30, size)
    for image in images:
        video.write(image[..., ::-1])
    video.release()
    script = [
        {"frame": 0, "add": {"box": boxes[0]}},
        {"frame": 0, "add": {"box": boxes[1]}},
        {"frame": 30, "add": {"box": boxes[2]}},
        {"frame": 100, "remove": 2},
    ]
    given = {"MODEL": str(tiny_bundle), "SOURCE": str(tmp_path / "c.avi"), "SAM_THREADS": "1"}
    given["SAM_STALE_AFTER"] = "600"  # on a busy machine frames come late
    said = run(tmp_path, **given, SCRIPT=json.dumps(script))

    assert len(said["/image"]) == FRAMES
    told = said["/diagnostics"][-1]
    # Every frame was segmented, or counted as dropped by the node or by dora before it.
    segmented = told["frames_segmented"]
    assert told["frames_received"] == segmented + told["frames_dropped"]
    assert told["frames_received"] + told["frames_missed"] == FRAMES
    assert told["frames_refused"] == 0
    assert 0 < told["encode_p50_ms"] <= told["encode_p99_ms"] <= told["total_worst_ms"]
    assert (told["level"], told["device"]) == ("OK", "cpu")

    rows = said["/objects"]
    assert [row["number"] for row in rows] == list(range(segmented))
    assert all(one["frame"] < next["frame"] for one, next in pairwise(rows))
    assert len(said["/annotations"]) == len(said["/labels"]) == segmented
    with SAM(tiny_bundle, threads=1) as sam:
        tracker, seen = sam.tracker(), set[int]()
        for row in rows:
            ids = {each["id"] for each in row["found"]} | set(row["lost"])
            for id in set(tracker.ids) - ids:
                tracker.remove(id)
            new = {id: Prompt(box=boxes[id - 1]) for id in sorted(ids - set(tracker.ids))}
            tracked = tracker.step(Frame("", images[row["frame"]]), new)
            masks = [rle.to_coco()["counts"] for rle in tracked.masks.rles]
            assert [each["id"] for each in row["found"]] == tracked.ids.tolist()
            assert [each["mask"] for each in row["found"]] == masks
            seen |= ids
    assert seen == {1, 2, 3}
