"""Compares the C++ runtime with Python: through its C interface by ctypes, and by its program.

    python tools/cpp_check.py build/cpp/gcc build/cpp/cases [pictures=40] [rounds=1000]

Embeddings to the bit and prompts of every kind, on photographs and scenes of odd sizes, on every
backend; the program's JSON; and whether memory grows over many rounds of open, encode, predict and
close. On one thread, since sums over several differ from run to run.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samdeploy import SAM, Embedding
from samdeploy.masks.rle import Rle
from samdeploy.prompts import Prompt
from samdeploy.scenes import generate_scene
from samdeploy.session import RuntimeOptions

_MOST_PIXELS = 2
_MOST_GROWTH = 16 << 20
_BACKENDS = ("openvino", "onnxruntime")
#: Packages that bring photographs, and where.
_PHOTOGRAPHS = {"sklearn": "datasets/images", "matplotlib": "mpl-data/sample_data"}


class _Options(ctypes.Structure):
    _fields_: ClassVar = [
        ("backend", ctypes.c_char_p),
        ("device", ctypes.c_char_p),
        ("precision", ctypes.c_char_p),
        ("threads", ctypes.c_int32),
        ("unproved", ctypes.c_int32),
        ("cache", ctypes.c_char_p),
    ]


class _Image(ctypes.Structure):
    _fields_: ClassVar = [
        ("data", ctypes.c_void_p),
        ("width", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("format", ctypes.c_int32),
        ("stride", ctypes.c_int64),
    ]


class _Prompt(ctypes.Structure):
    _fields_: ClassVar = [
        ("points", ctypes.c_void_p),
        ("labels", ctypes.c_void_p),
        ("point_count", ctypes.c_size_t),
        ("box", ctypes.c_void_p),
        ("logits", ctypes.c_void_p),
        ("logit_count", ctypes.c_size_t),
        ("bitmap", ctypes.c_void_p),
        ("bitmap_count", ctypes.c_size_t),
    ]


class Library:
    """The C interface; every status is checked."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        self._library.samdeploy_last_error.restype = ctypes.c_char_p
        self._library.samdeploy_masks_count.restype = ctypes.c_size_t

    def call(self, name: str, *arguments: Any) -> None:
        if getattr(self._library, f"samdeploy_{name}")(*arguments):
            raise RuntimeError(self._library.samdeploy_last_error().decode())

    @contextmanager
    def made(self, name: str, free: str, *arguments: Any) -> Iterator[ctypes.c_void_p]:
        """A handle that function ``name`` writes behind ``arguments``."""
        handle = ctypes.c_void_p()
        self.call(name, *arguments, ctypes.byref(handle))
        try:
            yield handle
        finally:
            getattr(self._library, f"samdeploy_{free}_free")(handle)

    def open(self, bundle: Path, backend: str, threads: int = 2) -> Any:
        options = _Options(backend.encode(), None, None, threads, 0, None)
        return self.made("open", "model", str(bundle).encode(), ctypes.byref(options))

    def encode(self, model: ctypes.c_void_p, image: NDArray[np.uint8]) -> Any:
        height, width = image.shape[:2]
        view = _Image(image.ctypes.data, width, height, 0, 0)
        return self.made("encode", "embedding", model, ctypes.byref(view))

    def predict(
        self, model: ctypes.c_void_p, embedding: ctypes.c_void_p, prompts: list[Prompt]
    ) -> list[str]:
        """COCO's counts of one mask a prompt."""
        given, kept = (_Prompt * len(prompts))(), []
        for to, prompt in zip(given, prompts, strict=True):
            points, labels = (
                None if values is None else np.ascontiguousarray(values, kind)
                for values, kind in ((prompt.points, np.float64), (prompt.labels, np.int32))
            )
            box = None if prompt.box is None else np.ascontiguousarray(prompt.box, np.float64)
            mask = None if prompt.mask is None else np.ascontiguousarray(prompt.mask, np.uint8)
            kept += [points, labels, box, mask]
            if points is not None:
                to.points, to.point_count = points.ctypes.data, len(points)
            if labels is not None:
                to.labels = labels.ctypes.data
            if box is not None:
                to.box = box.ctypes.data
            if mask is not None:
                to.bitmap, to.bitmap_count = mask.ctypes.data, mask.size
        asked = (model, embedding, given, ctypes.c_size_t(len(prompts)), ctypes.c_int32(0))
        with self.made("predict", "masks", *asked) as masks:
            return [self.counts(masks, i) for i in range(self.count(masks))]

    def count(self, masks: ctypes.c_void_p) -> int:
        found: int = self._library.samdeploy_masks_count(masks)
        return found

    def counts(self, masks: ctypes.c_void_p, index: int) -> str:
        counts = ctypes.c_char_p()
        self.call("mask_counts", masks, ctypes.c_size_t(index), ctypes.byref(counts))
        assert counts.value is not None
        return counts.value.decode()


def photographs() -> Iterator[NDArray[np.uint8]]:
    """Those that installed packages bring, uncut and cut to odd sizes."""
    for package, place in _PHOTOGRAPHS.items():
        found = find_spec(package)
        if found is None or found.origin is None:
            continue
        for path in sorted((Path(found.origin).parent / place).glob("*.jpg")):
            image = np.asarray(Image.open(path).convert("RGB"))
            yield from (image, image[3:-70, 41:-8], image[::3, ::2])


def pictures(count: int) -> Iterator[NDArray[np.uint8]]:
    """Photographs, then scenes of many shapes, every other one with noise."""
    found = list(photographs())
    yield from map(np.ascontiguousarray, found[:count])
    for seed in range(count - len(found)):
        rng = np.random.default_rng(seed)
        height, width = (int(side) for side in rng.integers(40, 900, 2))
        image = generate_scene(seed, (height, width)).image
        noise = rng.normal(0, 12 * (seed % 2), image.shape)
        yield np.ascontiguousarray((image + noise).round().clip(0, 255).astype(np.uint8))


def main(build: Path, cases: Path, pictures: int = 40, rounds: int = 1000) -> None:
    library = Library(build / "libsamdeploy.so")
    for backend in _BACKENDS:
        bundle = cases / backend / "sam_tiny"
        sam = SAM(bundle, options=RuntimeOptions(threads=1))
        worst, masks, times = _compare(library, bundle, backend, sam, pictures)
        print(f"{backend}: {pictures} embeddings are the same to the bit")
        print(f"{backend}: {masks} masks of {pictures} pictures, at most {worst} pixels off")
        print(f"{backend}: milliseconds, C++ and Python: {times}")
        if worst > _MOST_PIXELS:
            sys.exit(f"{backend}: {worst} pixels; expected at most {_MOST_PIXELS}")
        _compare_program(build / "samdeploy-cli", bundle, sam)
        print(f"{backend}: the program writes Python's JSON")
        _watch_memory(library, bundle, backend, rounds)


def _compare(
    library: Library, bundle: Path, backend: str, sam: SAM, count: int
) -> tuple[int, int, str]:
    worst = masks = 0
    times: dict[str, list[float]] = {}

    def timed(name: str, started: float) -> None:
        times.setdefault(name, []).append(1000 * (time.perf_counter() - started))

    with library.open(bundle, backend, threads=1) as model, tempfile.TemporaryDirectory() as folder:
        for seed, image in enumerate(pictures(count)):
            height, width = image.shape[:2]
            prompts = _prompts(np.random.default_rng(seed), height, width)
            started = time.perf_counter()
            embedding = sam.encode(image, "rgb")
            timed("Python encode", started)
            started = time.perf_counter()
            sam.predict(embedding, prompts=prompts[0]).to_rle()
            timed("Python click", started)
            expected = sam.predict(embedding, prompts=prompts).data
            started = time.perf_counter()
            with library.encode(model, image) as own:
                timed("C++ encode", started)
                started = time.perf_counter()
                library.predict(model, own, prompts[:1])
                timed("C++ click", started)
                found = library.predict(model, own, prompts)
                stored = Path(folder) / "embedding.npz"
                library.call("embedding_save", own, str(stored).encode())
                _same(Embedding.load(stored), embedding, seed)
            for counts, mask in zip(found, expected, strict=True):
                rle = {"size": [height, width], "counts": counts}
                worst = max(worst, int((Rle.from_coco(rle).decode() != mask).sum()))
                masks += 1
    medians = (f"{name} {np.median(values):.1f}" for name, values in sorted(times.items()))
    return worst, masks, ", ".join(medians)


def _same(found: Embedding, expected: Embedding, number: int) -> None:
    """Of the same library's encoder, they are only where its inputs are: images are resized so."""
    assert found.transform == expected.transform, (number, found.transform, expected.transform)
    for name, array in expected.tensors.items():
        off = np.abs(found.tensors[name] - array).max()
        assert off == 0, f"'{name}' of picture {number} differs by {off}"


def _prompts(rng: np.random.Generator, height: int, width: int) -> list[Prompt]:
    """One of each kind."""
    points = rng.uniform(0, (width, height), (3, 2))
    labels = [1, 0, 1]
    box = [width * 0.2, height * 0.1, width * 0.8, height * 0.9]
    y, x = np.mgrid[:height, :width]
    near = 0.2 * min(height, width)
    bitmap = (x - points[0, 0]) ** 2 + (y - points[0, 1]) ** 2 < near**2
    return [
        Prompt(points=points[:1]),
        Prompt(points=points, labels=labels),
        Prompt(box=box),
        Prompt(box=box, points=points[1:2], labels=[0]),
        Prompt(points=points[:1], mask=bitmap),
    ]


def _compare_program(program: Path, bundle: Path, sam: SAM) -> None:
    with tempfile.TemporaryDirectory() as folder:
        image, record = Path(folder) / "scene.png", Path(folder) / "out" / "scene.json"
        Image.fromarray(generate_scene(7, (233, 311)).image).save(image)
        prompts: dict[str, Any] = {
            "points": [[150, 120], [40, 60]],
            "bboxes": [[9, 9, 200, 180]] * 2,
        }
        asked = [f"{name}={json.dumps(value)}" for name, value in prompts.items()]
        subprocess.run(
            [program, f"model={bundle}", f"source={image}", f"output={record.parent}", *asked],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        found = json.loads(record.read_text())
        expected = {
            "image": str(image),
            "model": str(bundle),
            **sam.predict(image, **prompts).to_json(),
        }
        # Scores are the backend's, whose sums may differ in the last digit.
        for own, told in zip(found["masks"], expected["masks"], strict=True):
            assert abs(own["score"] - told["score"]) < 1e-4, (own["score"], told["score"])
            own["score"] = told["score"]
        assert found == expected, (found, expected)
        bad = subprocess.run(
            [program, f"model={bundle}", f"source={image}", "points=[[999,1]]"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert bad.returncode == 2 and "is outside the image" in bad.stderr, bad


def _watch_memory(library: Library, bundle: Path, backend: str, rounds: int) -> None:
    image = np.ascontiguousarray(generate_scene(1, (120, 160)).image)
    click = [Prompt(points=np.array([[80.0, 60.0]]))]
    settled, started = 0, time.perf_counter()
    for round in range(rounds):
        if round == rounds // 10:
            settled = _resident()
        with library.open(bundle, backend) as model, library.encode(model, image) as embedding:
            library.predict(model, embedding, click)
    grown = _resident() - settled
    per_round = 1000 * (time.perf_counter() - started) / rounds
    print(
        f"{backend}: {rounds} rounds of open, encode, predict, close: {per_round:.0f} ms each, "
        f"{settled / 2**20:.1f} MB after {rounds // 10}, {grown / 2**20:.1f} more at the end"
    )
    if grown > _MOST_GROWTH:
        sys.exit(f"{backend}: memory grows")


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


if __name__ == "__main__":
    options = dict(argument.split("=") for argument in sys.argv[3:])
    main(Path(sys.argv[1]), Path(sys.argv[2]), **{k: int(v) for k, v in options.items()})
