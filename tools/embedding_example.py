"""Writes the numbers of the worked example into docs/embedding.md.

    python tools/embedding_example.py

Run it again when the shipped model or an answer changes; a test compares the document with what
this computes. The graphs are computed in float64, so the digits do not depend on the processor.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from samdeploy.checkpoints import resolve_checkpoint
from samdeploy.exporting.host_prompts import encoding_of
from samdeploy.files import atomic_path
from samdeploy.fixed_shapes import FixedShapes
from samdeploy.geometry import Transform, resize_logits
from samdeploy.golden import CLICK, golden_disc, golden_picture
from samdeploy.graphs import DECODER, ENCODER, MASK_HEAD, PREPARE, SCORER
from samdeploy.masks.postprocess import mask_boxes, stability_scores
from samdeploy.models import graph_modules
from samdeploy.models.load import load_sam
from samdeploy.preprocess import preprocess
from samdeploy.prompts import DecoderPrompts, Prompt, encode_prompts
from samdeploy.session import TensorSpec

DOCUMENT = Path(__file__).parents[1] / "docs" / "embedding.md"

Arrays = dict[str, NDArray[Any]]
#: Runs the graph of a role.
Run = Callable[[str, Mapping[str, NDArray[Any]]], Arrays]

BOX, BACKGROUND = [70, 60, 230, 220], [300, 200]
#: Where values are shown: pixels (x, y) of the picture and of the encoder input, and (row, column)
#: of low-res logits.
PICTURE_AT = ((0, 0), (150, 140), (399, 309))
INPUT_AT = ((0, 0), (96, 89), (255, 197), (0, 198), (255, 255))
LOGITS_AT = ((0, 0), (22, 24), (22, 40), (40, 60))


@dataclass(frozen=True)
class Example:
    """Every array of the example, in the order in which an app computes them."""

    transform: Transform
    image: NDArray[np.float32]
    embeddings: NDArray[Any]
    prompts: DecoderPrompts
    answer: Arrays
    again: Arrays
    binary: DecoderPrompts
    prepared: Arrays
    scored: Arrays
    masks: NDArray[Any]


def compute(run: Run, image_size: int) -> Example:
    image, transform = preprocess(golden_picture(), image_size)
    embeddings = run(ENCODER, {"image": image})["image_embeddings"]
    side = image_size // 4

    def decode(prompts: DecoderPrompts) -> Arrays:
        return run(DECODER, {"image_embeddings": embeddings, **prompts.feeds()})

    prompts = encode_prompts(
        [
            Prompt(points=CLICK),
            Prompt(box=BOX),
            Prompt(box=BOX, points=BACKGROUND, labels=[0]),
        ],
        transform,
        side,
    )
    answer = decode(prompts)
    earlier = answer["low_res_masks"][0, 0].astype(np.float32)
    again = decode(encode_prompts([Prompt(points=CLICK, mask=earlier)], transform, side))
    binary = encode_prompts([Prompt(mask=golden_disc())], transform, side)
    prepared = run(PREPARE, {"image_embeddings": embeddings})
    tokens = {"point_coords": prompts.point_coords, "point_labels": prompts.point_labels}
    shared = {name: prepared[name] for name in ("image_keys", "image_values", "image_norms")}
    scored = run(SCORER, {**shared, **tokens})
    wanted = {name: array[:1] for name, array in scored.items() if name != "iou_predictions"}
    features = {"image_features": prepared["image_features"]}
    masks = run(MASK_HEAD, {**features, **wanted})["low_res_masks"]
    return Example(
        transform, image, embeddings, prompts, answer, again, binary, prepared, scored, masks
    )


def exact() -> Example:
    """The example with the shipped model, in float64."""
    sam = load_sam(resolve_checkpoint("sam_tiny.pt")).double()
    graphs = graph_modules(sam)

    def run(role: str, feeds: Mapping[str, NDArray[Any]]) -> Arrays:
        graph = graphs[role]
        with torch.inference_mode():
            inputs = [torch.from_numpy(feeds[spec.name]).double() for spec in graph.inputs]
            results = graph.module(*inputs)
        results = (results,) if isinstance(results, torch.Tensor) else results
        return {
            spec.name: value.numpy() for spec, value in zip(graph.outputs, results, strict=True)
        }

    return compute(run, sam.config.image_size)


def blocks(example: Example) -> dict[str, str]:
    """The tables of the document by name."""
    low, iou = example.answer["low_res_masks"], example.answer["iou_predictions"]
    return {
        "picture": _picture(),
        "input": _input(example),
        "embedding": _embedding(example.embeddings),
        "prompts": _prompts(example.prompts),
        "answer": table(
            ["prompt", "output", "`iou_predictions`", *(f"logit at {at}" for at in LOGITS_AT)],
            [
                [index, output, number(iou[index, output], 3), *_logits(low[index, output])]
                for index in range(len(iou))
                for output in range(iou.shape[1])
            ],
        ),
        "mask": _masks(low[0], example.transform),
        "again": table(
            ["output 0 of", "`iou_predictions`", *(f"logit at {at}" for at in LOGITS_AT)],
            [
                ["the click alone", number(iou[0, 0], 3), *_logits(low[0, 0])],
                [
                    "the click and its mask",
                    number(example.again["iou_predictions"][0, 0], 3),
                    *_logits(example.again["low_res_masks"][0, 0]),
                ],
            ],
        ),
        "binary": _binary(example.binary),
        "split": _split(example),
        "fixed": _fixed(example.prompts),
        "hosted": _hosted(example.prompts),
    }


def _picture() -> str:
    image = golden_picture()
    rows = [[f"pixel ({x}, {y})", *image[y, x]] for x, y in PICTURE_AT]
    sums = image.sum(axis=(0, 1), dtype=np.int64)
    return table(["", "R", "G", "B"], [*rows, ["sum of all pixels", *sums]])


def _input(example: Example) -> str:
    height, width = example.transform.input_size
    scale_x, scale_y = example.transform.scale
    rows = [
        [f"`image[0, :, {y}, {x}]`", ", ".join(number(v, 3) for v in example.image[0, :, y, x])]
        for x, y in INPUT_AT
    ]
    means = example.image.mean(axis=(0, 2, 3), dtype=np.float64)
    return table(
        ["", "value"],
        [
            ["new width, new height", f"{width}, {height}"],
            ["scale of x, scale of y", f"{number(scale_x, 6)}, {number(scale_y, 6)}"],
            *rows,
            ["mean of each channel, padding included", ", ".join(number(v, 2) for v in means)],
        ],
    )


def _embedding(embeddings: NDArray[Any]) -> str:
    return table(
        ["", "value"],
        [
            ["shape", list(embeddings.shape)],
            ["`image_embeddings[0, 0, 0, :4]`", row(embeddings[0, 0, 0, :4])],
            ["`image_embeddings[0, :4, 5, 6]`", row(embeddings[0, :4, 5, 6])],
            ["mean", number(embeddings.mean(), 4)],
            ["standard deviation", number(embeddings.std(), 4)],
        ],
    )


def _prompts(prompts: DecoderPrompts) -> str:
    names = ("click", "box", "box and a background click")
    return table(
        ["prompt", "", "`point_coords`", "`point_labels`"],
        [
            [
                index,
                name,
                " ".join(f"({number(x, 4)}, {number(y, 4)})" for x, y in coords),
                " ".join(f"{label:.0f}" for label in labels),
            ]
            for index, (name, coords, labels) in enumerate(
                zip(names, prompts.point_coords, prompts.point_labels, strict=True)
            )
        ],
    )


def _masks(low: NDArray[Any], transform: Transform) -> str:
    logits = resize_logits(low.astype(np.float32), transform)
    stable = stability_scores(logits)
    rows: list[list[object]] = [
        [output, number(logits[output, 140, 150], 2), *_area_and_box(logits[output] > 0), score]
        for output, score in enumerate(number(value, 3) for value in stable)
    ]
    return table(
        ["output", "logit at pixel (150, 140)", "pixels above 0", "box", "stability"],
        [*rows, ["the disc", "", *_area_and_box(golden_disc()), ""]],
    )


def _area_and_box(mask: NDArray[np.bool_]) -> list[object]:
    box = mask_boxes(mask[None])[0]
    return [np.count_nonzero(mask), ", ".join(f"{side:.0f}" for side in box)]


def _binary(prompts: DecoderPrompts) -> str:
    mask = prompts.mask_input[0, 0]
    return table(
        ["", "value"],
        [
            *([f"`mask_input[0, 0, {r}, {c}]`", number(mask[r, c], 2)] for r, c in LOGITS_AT),
            ["mean", number(mask.mean(dtype=np.float64), 3)],
        ],
    )


def _split(example: Example) -> str:
    shown = {**example.prepared, **example.scored, "low_res_masks": example.masks}
    return table(
        ["tensor", "shape", "first three values"],
        [
            [f"`{name}`", list(values.shape), row(values.reshape(-1)[:3])]
            for name, values in shown.items()
        ],
    )


class _Recorder:
    """A decoder of fixed shapes that keeps what it is fed and answers nothing of use."""

    provider = "none"

    def __init__(self, calls: list[Arrays], prompts: int, points: int) -> None:
        shapes = {"point_coords": (prompts, points, 2), "point_labels": (prompts, points)}
        self.inputs = tuple(TensorSpec(name, shape) for name, shape in shapes.items())
        self.outputs = (TensorSpec("iou_predictions", (prompts, 4)),)
        self._calls = calls

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Arrays:
        self._calls.append(dict(feeds))
        return {"iou_predictions": np.zeros((len(feeds["point_labels"]), 4), np.float32)}

    def close(self) -> None:
        """Nothing is held."""


def _fixed(prompts: DecoderPrompts) -> str:
    calls: list[Arrays] = []
    decoder = FixedShapes([_Recorder(calls, 2, 5)])
    decoder.run({"point_coords": prompts.point_coords, "point_labels": prompts.point_labels})
    rows: list[list[object]] = []
    for call, feeds in enumerate(calls):
        for place, (coords, labels) in enumerate(zip(*feeds.values(), strict=True)):
            prompt = len(rows) if len(rows) < len(prompts) else "none: drop its answer"
            points = " ".join(f"({number(x, 4)}, {number(y, 4)})" for x, y in coords)
            rows.append([call, place, prompt, points, " ".join(f"{each:.0f}" for each in labels)])
    return table(["call", "row", "prompt", "`point_coords`", "`point_labels`"], rows)


def _hosted(prompts: DecoderPrompts) -> str:
    """Of two prompts, which together have tokens of every kind."""
    encoding = encoding_of(load_sam(resolve_checkpoint("sam_tiny.pt")).prompt_encoder)
    tokens, bias = encoding(prompts.point_coords, prompts.point_labels)
    shown = [0, encoding.channels // 2, encoding.channels - 1]
    rows = [
        [i, slot, f"{label:.0f}", row(tokens[i, slot, shown]), f"{bias[i, slot]:.0f}"]
        for i in (0, 2)
        for slot, label in enumerate(prompts.point_labels[i])
    ]
    header = ["prompt", "slot", "label", f"`prompt_tokens` {shown}", "`prompt_bias`"]
    return table(header, rows)


def _logits(logits: NDArray[Any]) -> list[str]:
    return [number(logits[at], 2) for at in LOGITS_AT]


def row(values: NDArray[Any]) -> str:
    return ", ".join(number(value, 3) for value in values)


def number(value: float, digits: int) -> str:
    """Rounded, without a negative zero."""
    return f"{round(float(value), digits) + 0.0:.{digits}f}"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def fill(text: str, tables: Mapping[str, str]) -> str:
    """``text`` with the table of each name between its two comments."""
    for name, content in tables.items():
        start, end = f"<!-- computed: {name} -->", "<!-- end -->"
        pattern = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
        if len(pattern.findall(text)) != 1:
            raise SystemExit(f"the document must have '{start}' once, with '{end}' after it.")
        filled = f"{start}\n{content}\n{end}"
        text = pattern.sub(lambda _, filled=filled: filled, text)
    return text


def main() -> None:
    text = fill(DOCUMENT.read_text(), blocks(exact()))
    with atomic_path(DOCUMENT) as temporary:
        temporary.write_text(text)
    print(f"wrote the numbers of {DOCUMENT.name}")


if __name__ == "__main__":
    main()
