"""Load on a server: is every answer right, how fast is it, and does its memory stay?

    python tools/serve_load.py BUNDLE [BUNDLE ...] [--clients 8] [--requests 100]

Starts `samdeploy serve` with the bundles on this machine, works out the answers to some fifty
requests per model with `SAM` itself, and lets every client send as many of them, drawn at random,
one after the other. Every answer is compared: masks have to be equal. Prints throughput, latency
and the server's resident memory before and after, behind a first round and a quarter of the load;
the exit code is 1 when an answer differs or memory has grown by more than a tenth.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import io
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from samdeploy import SAM
from samdeploy.masks.masks import Masks
from samdeploy.masks.rle import Rle
from samdeploy.scenes import generate_scene
from samdeploy.serving.brush import brush_rle

SIZES = ((180, 240), (300, 200), (480, 640), (333, 517), (256, 256), (96, 400))
EVERYTHING = {"points_stride": 4, "conf_thres": 0.5, "stability_score_thresh": 0.5}
V1 = "/samdeploy/v1"


@dataclass(frozen=True)
class Case:
    """A request, and what :attr:`read` has to find in the answer."""

    name: str
    path: str
    body: bytes
    read: Callable[[Any], Any]
    expected: Any


@dataclass
class Load:
    """What a load showed; seconds of every request, and the names of those answered wrongly."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    sent_away: int = 0

    def __str__(self) -> str:
        slowest = sorted(self.latencies)[max(0, -(-99 * len(self.latencies) // 100) - 1)]
        return (
            f"{len(self.latencies)} answers in {self.seconds:.1f} s, "
            f"{len(self.latencies) / self.seconds:.1f} a second; latency median "
            f"{statistics.median(self.latencies) * 1000:.0f} ms, p99 {slowest * 1000:.0f} ms; "
            f"{self.sent_away} sent away and tried again; {len(self.wrong)} wrong"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=100)
    options = parser.parse_args()
    cases = [case for bundle in options.bundles for case in cases_of(bundle)]
    with serving(options.bundles) as (url, process):
        send(url, cases)
        # What threads take for themselves is there after as many of them were at work.
        run_load(url, cases, options.clients, -(-options.requests // 4))
        before = resident(process)
        load = run_load(url, cases, options.clients, options.requests)
        after = resident(process)
    print(f"{options.clients} clients, {len(options.bundles)} models, {len(cases)} kinds: {load}")
    print(f"resident memory {before / 1e6:.0f} MB before, {after / 1e6:.0f} MB after")
    for name in sorted(set(load.wrong)):
        print(f"wrong: {name}")
    raise SystemExit(bool(load.wrong) or after > 1.1 * before)


@contextmanager
def serving(bundles: Sequence[Path]) -> Iterator[tuple[str, int]]:
    """A server in a process of its own: its URL and number."""
    models = ",".join(str(bundle) for bundle in bundles)
    with subprocess.Popen(
        [
            sys.executable, "-m", "samdeploy", "serve", f"model={models}", "port=0", "threads=1",
            "--json",
        ],
        stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            told = "".join(iter(process.stdout.readline, "}\n")) + "}"
            yield json.loads(told)["url"], process.pid
        finally:
            process.terminate()


def resident(process: int) -> int:
    """Bytes in memory (Linux)."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def run_load(url: str, cases: Sequence[Case], clients: int, requests: int) -> Load:
    """Let clients send requests side by side."""
    load = Load()
    started = time.perf_counter()

    def client(seed: int) -> None:
        chosen = random.Random(seed).choices(cases, k=requests)
        send(url, chosen, load)

    with ThreadPoolExecutor(clients) as pool:
        for _ in pool.map(client, range(clients)):
            pass
    load.seconds = time.perf_counter() - started
    return load


def send(url: str, cases: Sequence[Case], load: Load | None = None) -> None:
    """Send requests over one connection; ``load`` is told how they were answered."""
    load = load or Load()
    address = urlsplit(url)
    assert address.hostname is not None
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=120)
    for case in cases:
        started = time.perf_counter()
        while True:
            connection.request("POST", case.path, case.body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 503:
                break
            load.sent_away += 1
            time.sleep(0.05)
        load.latencies.append(time.perf_counter() - started)
        if answer.status != 200 or case.read(json.loads(content)) != case.expected:
            load.wrong.append(f"{case.name} ({answer.status})")
    connection.close()


def cases_of(bundle: Path, sizes: Sequence[tuple[int, int]] = SIZES) -> list[Case]:
    """Requests about a picture of each of some sizes, with the answers of the model itself."""
    cases = []
    with SAM(bundle, threads=1) as sam:
        for seed, size in enumerate(sizes):
            cases += list(_cases_of_picture(sam, bundle.name, seed, size))
    return cases


def _cases_of_picture(sam: SAM, model: str, seed: int, size: tuple[int, int]) -> Iterator[Case]:
    scene = generate_scene(seed, size)
    file = io.BytesIO()
    Image.fromarray(scene.image).save(file, "PNG")
    picture = base64.b64encode(file.getvalue()).decode()
    height, width = size
    click = [width / 2, height / 2]
    box = [width / 4, height / 4, width * 0.75, height * 0.75]
    inside = scene.masks[0]
    embedding = sam.encode(scene.image, channel_order="rgb")

    def case(name: str, path: str, body: Any, read: Callable[[Any], Any], expected: Any) -> Case:
        return Case(f"{model} {seed} {name}", path, json.dumps(body).encode(), read, expected)

    def own(name: str, prompt: dict[str, Any], masks: Masks, **more: Any) -> Case:
        body = {"model": model, "image": picture, "prompts": [prompt], **more}
        return case(name, f"{V1}/predict", body, _run_lengths, masks.to_rle())

    clicked = sam.predict(embedding, points=click)
    yield own("click", {"points": [click]}, clicked)
    yield own(
        "three masks", {"points": [click]}, sam.predict(embedding, points=click, multimask=True),
        multimask=True,
    )  # fmt: skip
    points, labels = [click, [2, 2]], [1, 0]
    both = sam.predict(embedding, points=[points], labels=[labels], bboxes=[box])
    yield own("points and a box", {"points": points, "labels": labels, "box": box}, both)
    yield own("mask", {"mask": Rle.encode(inside).to_coco()}, sam.predict(embedding, masks=inside))
    yield case(
        "everything", f"{V1}/generate",
        {"model": model, "image": picture, "settings": EVERYTHING}, _run_lengths,
        sam.generate(embedding, **EVERYTHING).to_rle(),
    )  # fmt: skip
    yield case(
        "osam", "/api/generate",
        {"model": model, "image": picture, "prompt": {"points": [click], "point_labels": [1]}},
        _pixels, _cropped(clicked),
    )  # fmt: skip
    outlines = {"type": "point", "data": click, "label": 1}
    yield case(
        "X-AnyLabeling", "/v1/predict",
        {
            "model": model, "image": picture,
            "params": {"marks": [outlines], "epsilon_factor": 0, "show_boxes": True},
        },
        _rectangles,
        _corners(clicked),
    )  # fmt: skip
    config = '<View><Image name="i" value="$i"/><BrushLabels name="t" toName="i"/></View>'
    region = {"type": "keypoint", "value": {"x": 50, "y": 50}, "is_positive": True}
    yield case(
        "Label Studio", "/predict",
        {
            "tasks": [{"data": {"i": f"data:image/png;base64,{picture}"}}],
            "label_config": config, "model_version": model,
            "params": {"context": {"result": [region]}},
        },
        lambda answer: answer["results"][0]["result"][0]["value"]["rle"],
        brush_rle(clicked.data[0]),
    )  # fmt: skip


def _run_lengths(answer: Any) -> Any:
    return [mask["rle"] for mask in answer["masks"]]


def _pixels(answer: Any) -> Any:
    files = [io.BytesIO(base64.b64decode(each["mask"])) for each in answer["annotations"]]
    return [(np.asarray(Image.open(file)) > 0).tolist() for file in files]


def _cropped(masks: Masks) -> Any:
    x1, y1, x2, y2 = masks.boxes[0].astype(int).tolist()
    return [masks.data[0, y1 : y2 + 1, x1 : x2 + 1].tolist()] if masks.areas[0] else []


def _rectangles(answer: Any) -> Any:
    shapes = answer["data"]["shapes"]
    return [each["points"][::2] for each in shapes if each["shape_type"] == "rectangle"]


def _corners(masks: Masks) -> Any:
    x1, y1, x2, y2 = masks.boxes[0].tolist()
    return [[[x1, y1], [x2 + 1, y2 + 1]]] if masks.areas[0] else []


if __name__ == "__main__":
    main()
