"""Run another tool's own code on the files of a layout, and compare its masks with our adapter's.

    python tools/layout_in_tool.py FOLDER LAYOUT FAMILY CODE

``FOLDER`` holds the layout's files. ``CODE`` is where the tool's code is, which is no part of this
repository: for ``xanylabeling`` and ``anylabeling`` the file of the class (``sam_onnx.py``;
``sam2.py`` or ``sam2_onnx.py`` for SAM 2.1), for ``osam`` where pip put it (``--target``),
for ``transformersjs`` the folder ``node_modules``. The images are of sizes that the tools resize,
but for transformers.js.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samdeploy.exporters.layouts import find_layout
from samdeploy.exporters.layouts.adapters import OnnxAdapter, marks
from samdeploy.exporting.metrics import mask_iou
from samdeploy.exporting.verify_sam import usual_prompts
from samdeploy.geometry import Size
from samdeploy.prompts import Prompt
from samdeploy.scenes import generate_scene

_SIZES = ((240, 320), (301, 217), (700, 900))

Masks = NDArray[np.bool_]
#: An image and its prompts to the masks of each, ``[M, H, W]``.
Run = Callable[[NDArray[np.uint8], list[Prompt]], list[Masks]]


def labelling(folder: Path, family: str, code: Path) -> Run:
    """X-AnyLabeling's and AnyLabeling's class."""
    module = _module(code)
    files = [str(folder / f"{part}.onnx") for part in ("encoder", "decoder")]
    if family == "sam":
        model = module.SegmentAnythingONNX(*files)
    else:
        device = (
            ["cpu"] if "device" in module.SegmentAnything2ONNX.__init__.__code__.co_varnames else []
        )
        model = module.SegmentAnything2ONNX(*files, *device)

    def run(image: NDArray[np.uint8], prompts: list[Prompt]) -> list[Masks]:
        embedding = model.encode(image)
        return [
            np.asarray(model.predict_masks(embedding, _marks(prompt))[0]) > 0 for prompt in prompts
        ]

    return run


def _marks(prompt: Prompt) -> list[dict[str, Any]]:
    points, labels = marks(Prompt(points=prompt.points, labels=prompt.labels))
    found: list[dict[str, Any]] = [
        {"type": "point", "data": [*point], "label": int(label)}
        for point, label in zip(points, labels, strict=True)
    ]
    if prompt.box is not None:
        found.append({"type": "rectangle", "data": [float(side) for side in np.ravel(prompt.box)]})
    return found


def osam(folder: Path, family: str, code: Path) -> Run:
    """osam's model class, with our files in the place of those that it would download."""
    sys.path.insert(0, str(code))
    package = importlib.import_module("osam")
    import onnxruntime

    kind = package._models.Sam100m if family == "sam" else package._models.Sam2Tiny
    model = kind.__new__(kind)
    model._inference_sessions = {
        part: onnxruntime.InferenceSession(
            folder / f"{part}.onnx", providers=["CPUExecutionProvider"]
        )
        for part in ("encoder", "decoder")
    }

    def run(image: NDArray[np.uint8], prompts: list[Prompt]) -> list[Masks]:
        embedding = model.encode_image(image)
        found = []
        for prompt in prompts:
            points, labels = marks(prompt)
            asked = package.types.Prompt(points=points, point_labels=labels.astype(int))
            found.append(model._generate_mask_from_image_embedding(embedding, asked)[None])
        return found

    return run


def transformersjs(folder: Path, family: str, code: Path) -> Run:
    """transformers.js in Node."""
    script = Path(__file__).with_name("layout_in_transformersjs.mjs")

    def run(image: NDArray[np.uint8], prompts: list[Prompt]) -> list[Masks]:
        with tempfile.TemporaryDirectory() as work:
            Image.fromarray(image).save(f"{work}/image.png")
            asked = [_for_javascript(prompt, family) for prompt in prompts]
            Path(work, "prompts.json").write_text(json.dumps(asked))
            subprocess.run(["node", script, code, folder, family, work], check=True)
            counts = np.fromfile(f"{work}/masks.bin", np.uint8)
        return [*counts.reshape(len(prompts), -1, *image.shape[:2]).astype(bool)]

    return run


def _for_javascript(prompt: Prompt, family: str) -> dict[str, Any]:
    """Its SAM takes the corners of a box as points, its SAM 2 a box as a box."""
    box = prompt.box if family == "sam2" else None
    rest = Prompt(points=prompt.points, labels=prompt.labels) if box is not None else prompt
    points, labels = marks(rest)
    asked: dict[str, Any] = {}
    if len(labels):
        asked["input_points"] = [[points.tolist()]]
        asked["input_labels"] = [[labels.astype(int).tolist()]]
    if box is not None:
        asked["input_boxes"] = [[[float(side) for side in np.ravel(box)]]]
    return asked


def _sizes(layout: str, family: str, side: int) -> tuple[Size, ...]:
    """transformers.js resizes with sharp, which has no counterpart here: its images need none."""
    if layout != "transformersjs":
        return _SIZES
    return ((side, side),) if family == "sam2" else ((side * 3 // 4, side), (side, side // 2))


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("tool", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_TOOLS: dict[str, Callable[[Path, str, Path], Run]] = {
    "xanylabeling": labelling,
    "anylabeling": labelling,
    "osam": osam,
    "transformersjs": transformersjs,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("layout", choices=_TOOLS)
    parser.add_argument("family", choices=["sam", "sam2"])
    parser.add_argument("code", type=Path)
    args = parser.parse_args()
    run = _TOOLS[args.layout](args.folder, args.family, args.code)
    adapter = find_layout(args.layout).flavours[args.family].adapter(args.folder)
    assert isinstance(adapter, OnnxAdapter)
    overlaps = []
    for seed, size in enumerate(_sizes(args.layout, args.family, adapter.side)):
        scene = generate_scene(seed, size)
        prompts = usual_prompts(seed, scene)
        adapter.encode(scene.image)
        for prompt, theirs in zip(prompts, run(scene.image, prompts), strict=True):
            ours = adapter.masks(prompt)
            overlaps += [*mask_iou(np.where(ours, 1.0, -1.0), np.where(theirs, 1.0, -1.0))]
    print(
        f"{args.layout}, {args.family}: {len(overlaps)} masks, IoU mean {np.mean(overlaps):.6f}, "
        f"least {np.min(overlaps):.6f}"
    )


if __name__ == "__main__":
    main()
