"""osam, which labelme uses (osam 0.8.1 of PyPI).

Its SAM has the tensors of Segment Anything's ONNX export with ``--return-single-mask``, and says -1
where there is no mask to start from. To SAM 2.1 it sends no padding point: the decoder adds one.
osam up to 0.5 normalised images for SAM 2.1 in another way, and is not what these files are for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samdeploy.bundle import Bundle
from samdeploy.exporters.layouts import pieces
from samdeploy.exporters.layouts.adapters import (
    AMBIGUOUS,
    MEAN,
    STD,
    OnnxAdapter,
    chosen_by_tokens,
    inside,
    marks,
    padded,
    prompt_feeds,
    with_padding,
)
from samdeploy.exporters.layouts.meta import decoder_text, encoder_text
from samdeploy.exporters.layouts.writing import save, sides_of
from samdeploy.layouts import Candidates, Flavour, Layout, Tokens
from samdeploy.prompts import Prompt
from samdeploy.session import Array


def _write_sam(bundle: Bundle, folder: Path) -> None:
    save(bundle, encoder_text(bundle), folder / "encoder.onnx")
    save(bundle, decoder_text(bundle, single=True), folder / "decoder.onnx")


def _write_sam2(bundle: Bundle, folder: Path) -> None:
    side, channels, grid, low = sides_of(bundle)
    features = f"""
    float[1,{channels},{grid},{grid}] image_embeddings,
    float[1,{channels // 8},{low},{low}] high_res_features1,
    float[1,{channels // 4},{low // 2},{low // 2}] high_res_features2"""
    encoder = f"""
encoder (float[1,3,{side},{side}] input) => ({features}
)
{{{pieces.unnormalised("input", "image")}
    image_embeddings, high_res_features1, high_res_features2 = encoder (image)
}}"""
    decoder = f"""
decoder ({features},
    float[prompts,points,2] point_coords,
    float[prompts,points] point_labels,
    float[given,1,{low},{low}] mask_input,
    float[said] has_mask_input,
    int64[2] orig_im_size
) => (
    float[prompts,3,height,width] masks,
    float[prompts,3] iou_predictions,
    float[prompts,3,{low},{low}] low_res_masks
)
{{{pieces.padding_token()}{pieces.one_mask_for_all(low)}
    four_masks, four_ious, object_score = decoder (
        image_embeddings, high_res_features1, high_res_features2, coords, labels, mask, has_mask)
{pieces.candidates("low_res_masks", "iou_predictions")}{pieces.full_size_at_once()}
}}"""
    save(bundle, encoder, folder / "encoder.onnx")
    save(bundle, decoder, folder / "decoder.onnx")


class SamAdapter(OnnxAdapter):
    """``osam/_models/sam``."""

    def resized(self, image: NDArray[Any]) -> NDArray[Any]:
        height, width = self._resized_size(*image.shape[:2])
        return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))

    def _resized_size(self, height: int, width: int) -> tuple[int, int]:
        if width > height:
            return round(height * self.side / width), self.side
        return self.side, round(width * self.side / height)

    def tensor(self, image: NDArray[Any]) -> Array:
        return padded((self.resized(image) - MEAN) / STD, self.side)

    def tokens(self, prompt: Prompt) -> Tokens:
        """With the padding point, whatever the prompt is."""
        return with_padding(marks(prompt))

    def masks(self, prompt: Prompt) -> NDArray[Any]:
        points, labels = self.tokens(prompt)
        height, width = self._resized_size(*self.size)
        coords = points * (width / self.size[1], height / self.size[0])
        feeds = prompt_feeds(coords, labels, self.size, no_mask=-1.0)
        masks, _, _ = self.decoder.run(None, {"image_embeddings": self.features[0], **feeds})
        return inside(masks[0, :1])

    def answers(self, tokens: int) -> tuple[Candidates, ...]:
        return chosen_by_tokens(tokens)


class Sam2Adapter(OnnxAdapter):
    """``osam/_models/sam2``."""

    def resized(self, image: NDArray[Any]) -> NDArray[Any]:
        resized = cv2.resize(image, (self.side, self.side), interpolation=cv2.INTER_LINEAR)
        return np.asarray(resized)

    def tensor(self, image: NDArray[Any]) -> Array:
        pixels = (np.float32(self.resized(image)) / 255 - MEAN / 255) / (STD / 255)
        return padded(pixels, self.side)

    def tokens(self, prompt: Prompt) -> Tokens:
        """The decoder adds the padding point."""
        return with_padding(marks(prompt))

    def masks(self, prompt: Prompt) -> NDArray[Any]:
        points, labels = marks(prompt)
        height, width = self.size
        coords = points / (width / self.side, height / self.side)
        feeds = {
            **prompt_feeds(coords, labels, self.size),
            "image_embeddings": self.features[0],
            "high_res_features1": self.features[1],
            "high_res_features2": self.features[2],
            "orig_im_size": np.array(self.size, np.int64),
        }
        masks, scores, _ = self.decoder.run(None, feeds)
        return inside(masks[0, np.argmax(scores)][None])

    def answers(self, tokens: int) -> tuple[Candidates, ...]:
        return (AMBIGUOUS,)


LAYOUT = Layout(
    "osam",
    "osam 0.8",
    {
        "sam": Flavour(_write_sam, SamAdapter, side=1024),
        "sam2": Flavour(_write_sam2, Sam2Adapter, side=1024),
    },
)
