"""Segment Anything's own ONNX export (facebookresearch/segment-anything, dca509f).

``decoder.onnx`` has the names, order and meaning of ``scripts/export_onnx_model.py``: four masks of
the size of the image. The encoder, which that script leaves in torch, takes what
``Sam.preprocess`` gives.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samdeploy.bundle import Bundle
from samdeploy.exporters.layouts import pieces
from samdeploy.exporters.layouts.adapters import (
    MEAN,
    STD,
    OnnxAdapter,
    inside,
    marks,
    padded,
    prompt_feeds,
    with_padding,
)
from samdeploy.exporters.layouts.writing import save, sides_of
from samdeploy.layouts import Candidates, Flavour, Layout, Tokens
from samdeploy.prompts import Prompt
from samdeploy.session import Array


def encoder_text(bundle: Bundle) -> str:
    """An encoder of normalised, padded pixels."""
    side, channels, grid, _ = sides_of(bundle)
    return f"""
encoder (float[1,3,{side},{side}] x) => (float[1,{channels},{grid},{grid}] image_embeddings)
{{{pieces.unnormalised("x", "image")}
    image_embeddings = encoder (image)
}}"""


def decoder_text(bundle: Bundle, *, single: bool) -> str:
    """A decoder with the tensors of Segment Anything's ONNX export, for ``single`` masks with
    ``--return-single-mask``; prompts may be many."""
    side, channels, grid, low = sides_of(bundle)
    count = 1 if single else 4
    inner = "four_masks, four_ious" if single else "low_res_masks, iou_predictions"
    return f"""
decoder (
    float[1,{channels},{grid},{grid}] image_embeddings,
    float[prompts,points,2] point_coords,
    float[prompts,points] point_labels,
    float[given,1,{low},{low}] mask_input,
    float[said] has_mask_input,
    float[2] orig_im_size
) => (
    float[prompts,{count},height,width] masks,
    float[prompts,{count}] iou_predictions,
    float[prompts,{count},{low},{low}] low_res_masks
)
{{{pieces.one_mask_for_all(low)}
    {inner} = decoder (image_embeddings, point_coords, point_labels, mask, has_mask)
{pieces.chosen() if single else ""}{pieces.valid_size(side)}{pieces.full_size(side)}
}}"""


def _write(bundle: Bundle, folder: Path) -> None:
    save(bundle, encoder_text(bundle), folder / "encoder.onnx")
    save(bundle, decoder_text(bundle, single=False), folder / "decoder.onnx")


class MetaAdapter(OnnxAdapter):
    """``SamPredictor`` and the steps of the repository's ``onnx_model_example`` notebook."""

    def resized(self, image: NDArray[Any]) -> NDArray[Any]:
        height, width = self._resized_size(image.shape[:2])
        return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))

    def _resized_size(self, size: tuple[int, ...]) -> tuple[int, int]:
        scale = self.side / max(size)
        return int(size[0] * scale + 0.5), int(size[1] * scale + 0.5)

    def tensor(self, image: NDArray[Any]) -> Array:
        return padded((self.resized(image) - MEAN) / STD, self.side)

    def tokens(self, prompt: Prompt) -> Tokens:
        """A padding point stands in for the box where there is none."""
        return marks(prompt) if prompt.box is not None else with_padding(marks(prompt))

    def masks(self, prompt: Prompt) -> NDArray[Any]:
        points, labels = self.tokens(prompt)
        height, width = self._resized_size(self.size)
        coords = points * (width / self.size[1], height / self.size[0])
        feeds = prompt_feeds(coords, labels, self.size, self.side // 4)
        masks, _, _ = self.decoder.run(None, {"image_embeddings": self.features[0], **feeds})
        return inside(masks[0])

    def answers(self, tokens: int) -> tuple[Candidates, ...]:
        """All four."""
        return tuple((index,) for index in range(4))


LAYOUT = Layout("meta", "segment-anything's ONNX export", {"sam": Flavour(_write, MetaAdapter)})
