"""Processor time of C++ and Python on the same bundles, through the C interface, in one process.

    python tools/cpp_speed.py build/cpp/gcc build/cpp/cases [rounds=5]

One thread each, in turn, so that whatever else a machine does falls on both alike. Unlike the times
of a clock, these say the same on a busy machine: less the caches that others empty. Prints a table
in Markdown.
"""

from __future__ import annotations

import ctypes
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from cpp_check import Library, _Image, _Options, _Prompt

from samdeploy import SAM
from samdeploy.scenes import generate_scene
from samdeploy.session import RuntimeOptions

_BACKENDS = ("openvino", "onnxruntime")
#: (height, width), the click and the grid of whole-image mode.
_SIZE, _CLICK, _STRIDE = (1200, 1800), (900.0, 600.0), 16
#: What is short is measured for so many milliseconds.
_LEAST = 600


def main(build: Path, cases: Path, rounds: int = 5) -> None:
    library = Library(build / "libsamdeploy.so")
    print("| backend | step | Python, ms | C++, ms | C++ / Python |\n|---|---|---|---|---|")
    for backend in _BACKENDS:
        bundle = cases / backend / "sam_tiny"
        for step, ways in _Steps(library, bundle, backend).pairs().items():
            for way in ways:  # prepares what later calls find
                way()
            often = max(rounds, int(_LEAST / _milliseconds(ways[0])))
            took = [[_milliseconds(way) for way in ways] for _ in range(often)]
            python, cpp = (statistics.median(each) for each in zip(*took, strict=True))
            print(f"| {backend} | {step} | {python:.1f} | {cpp:.1f} | {cpp / python:.2f} |")


def _milliseconds(way: Callable[[], object]) -> float:
    started = time.process_time()
    way()
    return 1e3 * (time.process_time() - started)


class _Steps:
    """What is timed, in both languages."""

    def __init__(self, library: Library, bundle: Path, backend: str) -> None:
        self._library = library
        self._image = np.ascontiguousarray(generate_scene(0, _SIZE).image)
        self._view = _Image(self._image.ctypes.data, _SIZE[1], _SIZE[0], 0, 0)
        self._sam = SAM(bundle, options=RuntimeOptions(threads=1))
        self._model = ctypes.c_void_p()
        options = _Options(backend.encode(), None, None, 1, 0, None)
        library.call("open", str(bundle).encode(), ctypes.byref(options), ctypes.byref(self._model))
        self._embedding = ctypes.c_void_p()
        library.call("encode", self._model, ctypes.byref(self._view), ctypes.byref(self._embedding))
        self._own = self._sam.encode(self._image, "rgb")
        self._bitmap = np.empty(_SIZE, np.uint8)
        self._point = np.array(_CLICK)
        self._prompt = (_Prompt * 1)()
        self._prompt[0].points, self._prompt[0].point_count = self._point.ctypes.data, 1

    def pairs(self) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
        return {
            "image to embedding": (lambda: self._sam.encode(self._image, "rgb"), self._encode),
            "click to mask of the image's size": (
                lambda: self._sam.predict(self._own, points=_CLICK).data, self._click,
            ),
            f"whole image, {_STRIDE} x {_STRIDE} points": (
                lambda: self._sam.generate(self._image, channel_order="rgb", points_stride=_STRIDE),
                self._generate,
            ),
        }  # fmt: skip

    def _encode(self) -> None:
        with self._library.made("encode", "embedding", self._model, ctypes.byref(self._view)):
            pass

    def _click(self) -> None:
        asked = (self._model, self._embedding, self._prompt, ctypes.c_size_t(1), ctypes.c_int32(0))
        with self._library.made("predict", "masks", *asked) as masks:
            bitmap = ctypes.c_void_p(self._bitmap.ctypes.data)
            size = ctypes.c_size_t(self._bitmap.size)
            self._library.call("mask_bitmap", masks, ctypes.c_size_t(0), bitmap, size)

    def _generate(self) -> None:
        with self._library.made("settings_create", "settings", self._model) as settings:
            stride = str(_STRIDE).encode()
            self._library.call("settings_set", settings, b"points_stride", stride)
            asked = (self._model, ctypes.byref(self._view), settings, None, None)
            with self._library.made("generate", "masks", *asked):
                pass


if __name__ == "__main__":
    options = dict(argument.split("=") for argument in sys.argv[3:])
    main(Path(sys.argv[1]), Path(sys.argv[2]), **{k: int(v) for k, v in options.items()})
