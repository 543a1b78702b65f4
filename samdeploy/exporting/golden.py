"""The golden answer of a model, by its torch reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from samdeploy.families import Family
from samdeploy.geometry import resize_masks
from samdeploy.golden import CLICK, HEIGHT, WIDTH, Golden, RunLengths, golden_picture
from samdeploy.graphs import DECODER, ENCODER
from samdeploy.masks.rle import Rle, compress
from samdeploy.preprocess import preprocess
from samdeploy.prompts import Prompt, encode_prompts

if TYPE_CHECKING:
    from samdeploy.models.loaded import GraphModule, LoadedModel


def golden_answer(loaded: LoadedModel, family: Family) -> Golden | None:
    """Answer the golden click; ``None`` where a model takes no clicks or its answer is not
    finite."""
    encoder, decoder = (loaded.graphs.get(role) for role in (ENCODER, DECODER))
    if encoder is None or decoder is None or not _takes_clicks(decoder):
        return None
    image, transform = preprocess(golden_picture(), encoder.image_size, encoder.preprocess)
    batch = encode_prompts(
        [Prompt(points=CLICK)], transform, encoder.image_size // 4, family.always_padded
    )
    features = encoder.run({"image": image})
    answer = decoder.run({**features, **batch.feeds()})
    logits, iou = answer["low_res_masks"][0, :1], answer["iou_predictions"][0]
    if not (np.isfinite(logits).all() and np.isfinite(iou).all()):
        return None
    mask = Rle.encode(resize_masks(logits, transform)[0])
    rounded = tuple(round(float(value), 6) for value in iou)
    return Golden(WIDTH, HEIGHT, CLICK, rounded, RunLengths((HEIGHT, WIDTH), compress(mask.counts)))


def _takes_clicks(decoder: GraphModule) -> bool:
    names = {spec.name for spec in (*decoder.inputs, *decoder.outputs)}
    return {"point_coords", "mask_input", "low_res_masks", "iou_predictions"} <= names
