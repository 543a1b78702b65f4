"""Compares whole images in C++ with Python's, through the C interface and ``samdeploy-cli``, and
what else that program does.

    python tools/cpp_program.py build/cpp/gcc build/cpp/cases [pictures=40]

The same masks in the same order on the pictures of ``cpp_check.py``; photographs of every EXIF
orientation; the file of logits; the times that it tells.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from cpp_check import Library, _Image
from cpp_check import pictures as some_pictures
from numpy.typing import NDArray
from PIL import Image

from samdeploy import SAM
from samdeploy.masks.rle import Rle
from samdeploy.scenes import generate_scene
from samdeploy.session import RuntimeOptions

_MOST_PIXELS = 2
_MOST_OFF = {"score": 1e-4, "stability": 5e-3}
#: Decoders of JPEG files differ by a grey level or two.
_LEAST_IOU_OF_PHOTOGRAPHS = 0.99
_BACKENDS = ("openvino", "onnxruntime")
_SETTINGS: tuple[dict[str, Any], ...] = (
    {"points_stride": 12},
    {"points_stride": 8, "mode": "adaptive"},
    {"points_stride": 6, "exact": True, "min_mask_region_area": 50},
    {"points_stride": 6, "crop_n_layers": 1, "conf_thres": 0.8},
    {"points_stride": 6, "use_m2m": True, "best_only": True},
)
_PROGRESS = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int32, ctypes.c_int32, ctypes.c_void_p)


class _Facts(ctypes.Structure):
    _fields_: ClassVar = [
        ("score", ctypes.c_float),
        ("prompt", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("area", ctypes.c_int64),
        ("box", ctypes.c_double * 4),
        ("point", ctypes.c_double * 2),
        ("stability", ctypes.c_float),
    ]


def main(build: Path, cases: Path, pictures: int = 40) -> None:
    library, program = Library(build / "libsamdeploy.so"), build / "samdeploy-cli"
    for backend in _BACKENDS:
        bundle = cases / backend / "sam_tiny"
        sam = SAM(bundle, options=RuntimeOptions(threads=2))
        with tempfile.TemporaryDirectory() as work:
            folder = Path(work)
            masks = 0
            with library.open(bundle, backend) as model:
                for number, image in enumerate(some_pictures(pictures)):
                    settings = _SETTINGS[number % len(_SETTINGS)]
                    masks += _compare(library, model, program, sam, image, settings, folder)
            print(f"{backend}: {masks} masks of {pictures} whole images are Python's, twice")
            worst = _compare_orientations(program, sam, folder)
            print(f"{backend}: 8 orientations; masks overlap Python's by {worst:.4f} or more")
            _check_logits(program, sam, folder)
            _check_timing(program, sam, folder)


def _compare(
    library: Library,
    model: ctypes.c_void_p,
    program: Path,
    sam: SAM,
    image: NDArray[np.uint8],
    settings: Mapping[str, Any],
    folder: Path,
) -> int:
    height, width = image.shape[:2]
    expected = sam.generate(image, channel_order="rgb", **settings).to_json()
    source = folder / "scene.png"
    Image.fromarray(image).save(source)
    words = [f"{name}={_written(value)}" for name, value in settings.items()]
    found = _run(program, sam, source, *words)
    assert found == {"image": str(source), "model": str(sam.source), **found}
    _same(found, expected, "by the program")
    found = {"size": [height, width], "masks": _generate(library, model, image, settings)}
    _same(found, expected, "by the C interface")
    return len(found["masks"])


def _written(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _run(program: Path, sam: SAM, source: Path, *words: str) -> dict[str, Any]:
    output = source.parent / "out"
    asked = [f"model={sam.source}", f"source={source}", f"output={output}", "threads=2", *words]
    subprocess.run([program, *asked], check=True, stdout=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads((output / f"{source.stem}.json").read_text())
    return found


def _same(found: Mapping[str, Any], expected: Mapping[str, Any], what: str) -> None:
    assert found["size"] == expected["size"], what
    pairs = list(zip(found["masks"], expected["masks"], strict=True))
    for own, told in pairs:
        assert own.keys() == told.keys(), (what, own, told)
        assert (own["prompt"], own["point"]) == (told["prompt"], told["point"]), (what, own, told)
        for name, most in _MOST_OFF.items():
            assert abs(own[name] - told[name]) <= most, (what, name, own[name], told[name])
        a, b = (Rle.from_coco(each["segmentation"]).decode() for each in (own, told))
        assert (a != b).sum() <= _MOST_PIXELS, (what, (a != b).sum())


def _generate(
    library: Library, model: ctypes.c_void_p, image: NDArray[np.uint8], settings: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Whole-image mode through the C interface, as JSON; also cancelled once, at its first call."""
    height, width = image.shape[:2]
    view = ctypes.byref(_Image(image.ctypes.data, width, height, 0, 0))
    calls: list[tuple[int, int]] = []

    def told(done: int, total: int, context: object) -> int:
        calls.append((done, total))
        return 1

    keep_on, stop = _PROGRESS(told), _PROGRESS(lambda done, total, context: 0)
    with library.made("settings_create", "settings", model) as chosen:
        for name, value in settings.items():
            library.call("settings_set", chosen, name.encode(), _written(value).encode())
        try:
            library.call(
                "generate", model, view, chosen, stop, None, ctypes.byref(ctypes.c_void_p())
            )
        except RuntimeError as error:
            assert "generate was cancelled" in str(error), error
        else:
            raise AssertionError("nothing was cancelled")
        asked = ("generate", "masks", model, view, chosen, keep_on, None)
        with library.made(*asked) as masks:
            found = [_record(library, masks, i) for i in range(library.count(masks))]
    assert calls[-1][0] == calls[-1][1], calls[-1]
    return found


def _record(library: Library, masks: ctypes.c_void_p, index: int) -> dict[str, Any]:
    facts = _Facts()
    library.call("mask_facts", masks, ctypes.c_size_t(index), ctypes.byref(facts))
    counts = library.counts(masks, index)
    return {
        "score": facts.score,
        "box": list(facts.box),
        "area": facts.area,
        "prompt": facts.prompt,
        "segmentation": {"size": [facts.height, facts.width], "counts": counts},
        "stability": facts.stability,
        "point": list(facts.point),
    }


def _compare_orientations(program: Path, sam: SAM, folder: Path) -> float:
    """A click on a photograph lying in every way; the least overlap with Python's mask."""
    image = Image.fromarray(generate_scene(11, (150, 260)).image)
    overlaps = []
    for orientation in range(1, 9):
        source = folder / f"photograph{orientation}.jpg"
        exif = Image.Exif()
        exif[0x112] = orientation
        image.save(source, quality=95, exif=exif)
        expected = sam.predict(source, points=[[70, 60]])
        found = _run(program, sam, source, "points=[[70,60]]")
        assert tuple(found["size"]) == expected.orig_shape, orientation
        mask = Rle.from_coco(found["masks"][0]["segmentation"]).decode()
        overlaps.append((mask & expected.data[0]).sum() / (mask | expected.data[0]).sum())
    assert min(overlaps) >= _LEAST_IOU_OF_PHOTOGRAPHS, overlaps
    return float(min(overlaps))


def _check_logits(program: Path, sam: SAM, folder: Path) -> None:
    source, path = folder / "scene.png", folder / "logits.npy"
    clicks = "[[30,20],[50,40]]"
    _run(program, sam, source, f"points={clicks}", "multimask=true", f"logits={path}")
    expected = sam.predict(source, points=json.loads(clicks), multimask=True).low_res_logits
    assert expected is not None
    found = np.load(path)
    assert found.dtype == np.float32 and np.abs(found - expected).max() < 1e-2


def _check_timing(program: Path, sam: SAM, folder: Path) -> None:
    points = [[10 + i % 8, 10 + i // 8] for i in range(64)]
    steps = ["load", "encode", "click", "image_to_mask", "decode_1", "decode_16", "decode_64"]
    words = ([f"points={points}", "warmup=1"], ["points_stride=4"])
    for asked, expected in zip(words, (steps, ["load", "whole_image"]), strict=True):
        done = subprocess.run(
            [program, f"model={sam.source}", f"source={folder / 'scene.png'}", "repeat=2", *asked],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        told = json.loads(done.stdout)
        assert list(told["seconds"]) == expected, told
        assert [len(each) for each in told["seconds"].values()] == [1, *[2] * (len(expected) - 1)]
        assert all(peak > 1e7 for peak in told["peaks"].values()), told


if __name__ == "__main__":
    options = dict(argument.split("=") for argument in sys.argv[3:])
    main(Path(sys.argv[1]), Path(sys.argv[2]), **{k: int(v) for k, v in options.items()})
