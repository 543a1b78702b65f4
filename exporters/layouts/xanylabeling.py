"""X-AnyLabeling (CVHub520/X-AnyLabeling, 87da339; X-AnyLabeling 4.0).

For SAM, images are brought into a frame of 1024 x 684 pixels, which is what the model then sees and
answers in; ``max_width`` and ``max_height`` of the YAML file are read and not heeded. The encoder
takes such a frame and normalises and pads it itself. For SAM 2.1, tensors are told apart by their
order, and the decoder gets no padding point: it adds one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
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
from samdeploy.exporters.layouts.meta import decoder_text
from samdeploy.exporters.layouts.writing import save, sides_of
from samdeploy.geometry import Size
from samdeploy.layouts import Candidates, Flavour, Layout, Tokens
from samdeploy.prompts import Prompt
from samdeploy.session import Array

#: Height and width that images of SAM are brought into.
_FRAME = (684, 1024)


def write_sam(bundle: Bundle, folder: Path) -> None:
    """Encoder and decoder for SAM."""
    side, channels, grid, _ = sides_of(bundle)
    encoder = f"""
encoder (float[height,width,3] image) => (float[1,{channels},{grid},{grid}] image_embeddings)
{{{pieces.padded("image", "padded", side)}
    image_embeddings = encoder (padded)
}}"""
    save(bundle, encoder, folder / "encoder.onnx")
    save(bundle, decoder_text(bundle, single=True), folder / "decoder.onnx")


def write_sam2(bundle: Bundle, folder: Path, pixels: str = "") -> None:
    """Encoder and decoder for SAM 2.1. ``pixels`` makes ``image``, in 0-255, of ``input``; by
    default of RGB that was normalised."""
    side, channels, grid, low = sides_of(bundle)
    embedding = f"float[1,{channels},{grid},{grid}] image_embed"
    features = f"""
    float[1,{channels // 8},{low},{low}] high_res_feats_0,
    float[1,{channels // 4},{low // 2},{low // 2}] high_res_feats_1"""
    encoder = f"""
encoder (float[1,3,{side},{side}] input) => ({features},
    {embedding}
)
{{{pixels or pieces.unnormalised("input", "image")}
    image_embed, high_res_feats_0, high_res_feats_1 = encoder (image)
}}"""
    decoder = f"""
decoder (
    {embedding},{features},
    float[prompts,points,2] point_coords,
    float[prompts,points] point_labels,
    float[given,1,{low},{low}] mask_input,
    float[said] has_mask_input
) => (
    float[prompts,3,{low},{low}] masks,
    float[prompts,3] iou_predictions
)
{{{pieces.padding_token()}{pieces.one_mask_for_all(low)}
    four_masks, four_ious, object_score = decoder (
        image_embed, high_res_feats_0, high_res_feats_1, coords, labels, mask, has_mask)
{pieces.candidates("masks", "iou_predictions")}
}}"""
    save(bundle, encoder, folder / "encoder.onnx")
    save(bundle, decoder, folder / "decoder.onnx")


def write_config(bundle: Bundle, path: Path, kind: str) -> None:
    """The YAML file that the tool opens."""
    name = f"samdeploy-{Path(bundle.manifest.source.name).stem}"
    config = {
        "type": kind,
        "name": name,
        "provider": "samdeploy",
        "display_name": f"{bundle.manifest.architecture} (samdeploy)",
        "encoder_model_path": "encoder.onnx",
        "decoder_model_path": "decoder.onnx",
        "input_size": bundle.manifest.image_size,
        "max_width": 1024,
        "max_height": 682,
    }
    path.write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")


def _write_sam(bundle: Bundle, folder: Path) -> None:
    write_sam(bundle, folder)
    write_config(bundle, folder / "config.yaml", "segment_anything")


def _write_sam2(bundle: Bundle, folder: Path) -> None:
    write_sam2(bundle, folder)
    write_config(bundle, folder / "config.yaml", "segment_anything_2")


class SamAdapter(OnnxAdapter):
    """``sam_onnx.py``."""

    #: Others would be moved by parts of a pixel on their way into the frame and back.
    sizes: tuple[Size, ...] = (_FRAME,)

    @property
    def side(self) -> int:
        return 1024

    def resized(self, image: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(cv2.warpAffine(image, self._matrix(image)[:2], _FRAME[::-1]))

    def _matrix(self, image: NDArray[Any]) -> Array:
        scale = min(_FRAME[1] / image.shape[1], _FRAME[0] / image.shape[0])
        return np.diag([scale, scale, 1.0])

    def tensor(self, image: NDArray[Any]) -> Array:
        self.matrix = self._matrix(image)
        return np.asarray(self.resized(image), np.float32)

    def tokens(self, prompt: Prompt) -> Tokens:
        """With the padding point, whatever the prompt is."""
        return with_padding(marks(prompt))

    def masks(self, prompt: Prompt) -> NDArray[Any]:
        points, labels = self.tokens(prompt)
        feeds = prompt_feeds(points @ self.matrix[:2, :2], labels, _FRAME)
        masks, _, _ = self.decoder.run(None, {"image_embeddings": self.features[0], **feeds})
        inverse = np.linalg.inv(self.matrix)[:2]
        return inside(cv2.warpAffine(masks[0, 0], inverse, self.size[::-1])[None])

    def answers(self, tokens: int) -> tuple[Candidates, ...]:
        return chosen_by_tokens(tokens)


class Sam2Adapter(OnnxAdapter):
    """``__base__/sam2.py``."""

    def resized(self, image: NDArray[Any]) -> NDArray[Any]:
        planes = np.moveaxis(np.float32(image) / 255, 2, 0)
        size = (self.side, self.side)
        resized = [Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR)
                   for plane in planes]  # fmt: skip
        return np.asarray(np.stack([np.asarray(plane) for plane in resized], axis=2) * 255)

    def tensor(self, image: NDArray[Any]) -> Array:
        pixels = (self.resized(image) / 255 - MEAN / 255) / (STD / 255)
        return padded(pixels, self.side)

    def tokens(self, prompt: Prompt) -> Tokens:
        """The decoder adds the padding point."""
        return with_padding(marks(prompt))

    def masks(self, prompt: Prompt) -> NDArray[Any]:
        points, labels = marks(prompt)
        low = self.side // 4
        high_res_0, high_res_1, embedding = self.features
        height, width = self.size
        given = (
            embedding,
            high_res_0,
            high_res_1,
            np.float32(points / (width, height) * self.side)[None],
            np.float32(labels)[None],
            np.zeros((1, 1, low, low), np.float32),
            np.zeros(1, np.float32),
        )
        names = [each.name for each in self.decoder.get_inputs()]
        outputs = self.decoder.run(None, dict(zip(names, given, strict=True)))
        best = outputs[0][0][np.argmax(outputs[1].squeeze())]
        return inside(cv2.resize(best, (width, height))[None])

    def answers(self, tokens: int) -> tuple[Candidates, ...]:
        return (AMBIGUOUS,)


LAYOUT = Layout(
    "xanylabeling",
    "X-AnyLabeling 4.0",
    {
        "sam": Flavour(_write_sam, SamAdapter, side=1024),
        "sam2": Flavour(_write_sam2, Sam2Adapter),
    },
)
