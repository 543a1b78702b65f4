"""Writes what the TypeScript and C++ runtimes are compared with: bundles, pictures, and Python's
answers.

    PYTHONPATH=tests python tools/web_cases.py build/web
    PYTHONPATH=tests python tools/web_cases.py build/cpp/openvino openvino

Nothing in them is typed by hand: every number is what this package answers on the runtime of the
format (ONNX unless told), or Pillow and OpenCV do.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import onnx
from embedding_example import BACKGROUND, BOX
from hq_models import config_of, write_checkpoint
from numpy.typing import NDArray

from samdeploy import SAM, export
from samdeploy.bundle import Bundle, file_record, write_manifest
from samdeploy.geometry import Transform, mask_to_logits
from samdeploy.golden import CLICK, golden_disc, golden_picture
from samdeploy.masks.masks import Masks
from samdeploy.masks.polygons import Polygon, mask_to_polygons
from samdeploy.masks.rle import Rle
from samdeploy.preprocess import Preprocess, preprocess
from samdeploy.prompts import Prompt
from samdeploy.scenes import generate_scene

Picture = NDArray[np.uint8]
Case = dict[str, Any]

_GOLDEN = Path(__file__).parents[1] / "tests" / "golden"
_KINDS = ("click", "clicks", "box", "box and clicks", "bitmap", "again", "bitmap and click")


def main(folder: Path, format: str = "onnx") -> None:
    """Write everything into ``folder``; bundles that are there already are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {
        "example": golden_picture(),
        "scene": generate_scene(3, (180, 240)).image,
        "odd": generate_scene(21, (333, 517)).image,
        "tall": generate_scene(5, (600, 280)).image,
    }
    for name, image in pictures.items():
        alpha = np.full((*image.shape[:2], 1), 255, np.uint8)
        (folder / f"{name}.rgba").write_bytes(np.concatenate([image, alpha], 2).tobytes())
    tiny = SAM(_bundle(folder, "sam_tiny", "sam_tiny.pt", format=format))
    cases = {
        "pictures": {name: list(image.shape[:2]) for name, image in pictures.items()},
        "resizing": _resizing(folder, pictures["odd"]),
        "bitmaps": _bitmaps(),
        "prompting": _prompting(tiny, pictures),
        "everything": _everything(tiny, pictures),
        "families": [
            _family(bundle, pictures["odd"])
            for bundle in (make(folder, format) for make in (_small_sam, _small_sam2, _small_hq))
        ],
    }
    if format == "onnx":
        _external(folder, folder / "sam_tiny")
    (folder / "cases.json").write_text(json.dumps(cases))


def _bundle(folder: Path, name: str, model: str | Path, **options: Any) -> Path:
    bundle = folder / name
    return export(model, output=bundle, verify="off", **options)


def _resizing(folder: Path, image: Picture) -> list[Case]:
    """Encoder inputs by every kind of preprocessing that there is, as files of float32."""
    kinds: list[Mapping[str, Any]] = [
        {},
        {"resize": "square", "rounding": "none"},
        {"resize": "square", "resampling": "bicubic", "rounding": "down"},
        {"resampling": "bicubic", "scaling": "min-max", "pad": [0, 1, 2]},
        {"resampling": "area", "rounding": "none"},
        {"resize": "square", "resampling": "area"},
    ]
    cases = []
    for size in (128, 256, 1024):
        for steps in kinds:
            values, _ = preprocess(image, size, Preprocess(**steps))
            name = f"input{len(cases)}.f32"
            (folder / name).write_bytes(values.astype("<f4").tobytes())
            cases.append({"size": size, "preprocess": steps, "file": name})
    return cases


def _bitmaps() -> list[Case]:
    """Masks of many shapes with their run lengths, outlines, and logits as prompts."""
    rng = np.random.default_rng(0)
    scene = generate_scene(8, (97, 141)).masks
    noise = rng.random((2, 40, 33)) < np.array([0.3, 0.6])[:, None, None]
    shapes = [*scene[:3], *noise, np.zeros((5, 7), bool), np.ones((5, 7), bool)]
    cases = []
    for mask in shapes:
        transform = Transform.fit((mask.shape[0], mask.shape[1]), 64)
        polygons = mask_to_polygons(mask)
        cases.append(
            {
                "size": list(mask.shape),
                "pixels": np.flatnonzero(mask).tolist(),
                "rle": Rle.encode(mask).to_coco(),
                "area": Rle.encode(mask).area,
                "box": list(Rle.encode(mask).box),
                "rings": [_rings(polygon) for polygon in polygons],
                "simplified": sum(p.area for p in mask_to_polygons(mask, 1.5)),
                "logits": mask_to_logits(mask, transform, 16).ravel().tolist(),
                "regions": sorted(_regions(mask)),
            }
        )
    return cases


def _rings(polygon: Polygon) -> list[list[list[float]]]:
    """Each ring from its smallest corner on."""
    rings = []
    for ring in (polygon.exterior, *polygon.holes):
        points = ring.tolist()
        first = points.index(min(points))
        rings.append(points[first:] + points[:first])
    return [rings[0], *sorted(rings[1:])]


def _regions(mask: NDArray[np.bool_]) -> list[int]:
    stats = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)[2]
    areas: list[int] = stats[1:, cv2.CC_STAT_AREA].tolist()
    return areas


def _prompting(sam: SAM, pictures: Mapping[str, Picture]) -> list[Case]:
    """The worked example of docs/embedding.md, and prompts of every kind on every picture."""
    example = [
        Prompt(points=[CLICK]),
        Prompt(box=BOX),
        Prompt(box=BOX, points=[BACKGROUND], labels=[0]),
        Prompt(mask=golden_disc()),
    ]
    cases = [_asked(sam, "example", pictures["example"], example, multimask=False)]
    cases.append(_asked(sam, "example", pictures["example"], example[:1], multimask=True))
    for seed, (name, image) in enumerate(list(pictures.items())[1:]):
        rng = np.random.default_rng(seed)
        prompts = [_prompt(rng, image, kind) for kind in _KINDS * 2]
        cases.append(_asked(sam, name, image, prompts, multimask=bool(seed % 2)))
    return cases


def _prompt(rng: np.random.Generator, image: Picture, kind: str) -> Prompt | str:
    """A prompt of a kind; ``again`` is the first answer before, as a mask beside its click."""
    height, width = image.shape[:2]
    clicks = rng.uniform(0, (width, height), (int(rng.integers(2, 6)), 2)).round(2)
    left, top = rng.uniform(0, (width / 2, height / 2)).round(1)
    right, bottom = rng.uniform((width / 2, height / 2), (width, height)).round(1)
    box = [left, top, right, bottom]
    y, x = np.mgrid[:height, :width]
    centre, radius = clicks[0], 0.2 * min(height, width)
    bitmap = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2
    labels = [1, *(int(label) for label in rng.integers(0, 2, len(clicks) - 1))]
    made: dict[str, Prompt | str] = {
        "click": Prompt(points=clicks[:1]),
        "clicks": Prompt(points=clicks, labels=labels),
        "box": Prompt(box=box),
        "box and clicks": Prompt(box=box, points=clicks[1:], labels=labels[1:]),
        "bitmap": Prompt(mask=bitmap),
        "bitmap and click": Prompt(mask=bitmap, points=clicks[:1]),
        "again": "again",
    }
    return made[kind]


def _asked(sam: SAM, name: str, image: Picture, prompts: list[Any], multimask: bool) -> Case:
    embedding = sam.encode(image, "rgb")
    first: Prompt = prompts[0]
    logits = sam.predict(embedding, prompts=first).low_res_logits
    assert logits is not None
    again = Prompt(points=first.points, mask=logits[0])
    real = [again if prompt == "again" else prompt for prompt in prompts]
    masks = sam.predict(embedding, prompts=real, multimask=multimask)
    return {
        "picture": name,
        "multimask": multimask,
        "prompts": [_written(prompt, first) for prompt in prompts],
        "masks": _answers(masks),
    }


def _written(prompt: Prompt | str, first: Prompt) -> Case:
    if isinstance(prompt, str):
        return {"points": np.asarray(first.points).tolist(), "again": True}
    written: Case = {}
    if prompt.points is not None:
        written["points"] = np.asarray(prompt.points, float).tolist()
    if prompt.labels is not None:
        written["labels"] = list(np.asarray(prompt.labels).tolist())
    if prompt.box is not None:
        written["box"] = np.asarray(prompt.box, float).tolist()
    if prompt.mask is not None:
        written["bitmap"] = Rle.encode(np.asarray(prompt.mask, bool)).to_coco()
    return written


def _answers(masks: Masks) -> list[Case]:
    """Scores and run lengths; in whole-image mode with stability and point."""
    return [
        {
            "score": float(masks.scores[i]),
            "rle": rle,
            "prompt": int(masks.prompt_index[i]),
            "stability": None if masks.stability is None else float(masks.stability[i]),
        }
        for i, rle in enumerate(masks.to_rle())
    ]


def _everything(sam: SAM, pictures: Mapping[str, Picture]) -> list[Case]:
    """Whole images; the first is what a browser is asked for as well."""
    wanted: list[tuple[str, dict[str, Any]]] = [
        ("odd", {"points_stride": 12}),
        ("scene", {"points_stride": 20}),
        ("odd", {"points_stride": 8, "crop_n_layers": 1, "min_mask_region_area": 60}),
        ("tall", {"points_stride": 12, "mode": "adaptive"}),
        ("scene", {"points_stride": 6, "exact": True, "best_only": True}),
        ("scene", {"points_stride": 4, "use_m2m": True, "stability_score_thresh": 0.9}),
        ("odd", {"points_stride": 8, "multimask_output": False, "conf_thres": 0.5}),
    ]
    return [
        {
            "picture": name,
            "settings": settings,
            "masks": _answers(sam.generate(pictures[name], channel_order="rgb", **settings)),
        }
        for name, settings in wanted
    ]


def _small_sam(folder: Path, format: str) -> Path:
    source = _GOLDEN / "sam_vit_small"
    weights, config = source / "weights.safetensors", source / "config.json"
    return _bundle(folder, "small_sam", weights, format=format, config=config)


def _small_sam2(folder: Path, format: str) -> Path:
    source = _GOLDEN / "sam2" / "sam2_small"
    stored = json.loads((source / "config.json").read_text())
    trunk = {"trunk": stored["image_encoder"]["trunk"]}
    config = {"image_size": stored["image_size"], "image_encoder": trunk}
    weights = source / "weights.safetensors"
    return _bundle(folder, "small_sam2", weights, format=format, config=config)


def _small_hq(folder: Path, format: str) -> Path:
    if (folder / "small_hq").is_dir():
        return folder / "small_hq"
    checkpoint = write_checkpoint("small_vit", folder)
    return _bundle(folder, "small_hq", checkpoint, format=format, config=config_of("small_vit"))


def _family(bundle: Path, image: Picture) -> Case:
    """Prompts and the whole image by a small model of a family, with random weights."""
    sam = SAM(bundle)
    rng = np.random.default_rng(7)
    prompts = [_prompt(rng, image, kind) for kind in _KINDS]
    settings = {"points_stride": 4, "conf_thres": 0.0, "stability_score_thresh": 0.5}
    masks = sam.generate(image, channel_order="rgb", **settings)
    return {
        "bundle": bundle.name,
        "asked": _asked(sam, "odd", image, prompts, multimask=False),
        "everything": {"picture": "odd", "settings": settings, "masks": _answers(masks)},
    }


def _external(folder: Path, bundle: Path) -> None:
    """The same bundle with the encoder's weights in a file beside its graph."""
    target = folder / "external"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(bundle, target)
    model = onnx.load(target / "encoder.onnx")
    onnx.save_model(
        model, target / "encoder.onnx", save_as_external_data=True, location="encoder.onnx.data"
    )
    manifest = Bundle.open(bundle).manifest
    files = tuple(file_record(target, Path(f"encoder.onnx{end}")) for end in ("", ".data"))
    graphs = tuple(
        msgspec.structs.replace(graph, files=files) if graph.role == "encoder" else graph
        for graph in manifest.graphs
    )
    write_manifest(target, msgspec.structs.replace(manifest, graphs=graphs))
    Bundle.open(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
