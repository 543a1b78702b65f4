"""transformers.js (huggingface/transformers.js, 5ed4c5c; transformers.js 4.2).

Its SAM and SAM 2 models read two JSON files, ``onnx/vision_encoder.onnx`` and
``onnx/prompt_encoder_mask_decoder.onnx``. Labels are int64, and prompts have an axis for the image
before them. Neither model gets a padding point from it: the decoder adds the one that SAM was
trained with.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from samdeploy.bundle import Bundle
from samdeploy.constants import PIXEL_MEAN, PIXEL_STD
from samdeploy.exporters.layouts import pieces
from samdeploy.exporters.layouts.adapters import (
    MEAN,
    STD,
    OnnxAdapter,
    inside,
    marks,
    padded,
    with_padding,
)
from samdeploy.exporters.layouts.writing import save, sides_of
from samdeploy.geometry import Size
from samdeploy.layouts import Candidates, Flavour, Layout, Tokens
from samdeploy.prompts import Prompt
from samdeploy.session import Array

_ENCODER, _DECODER = "onnx/vision_encoder.onnx", "onnx/prompt_encoder_mask_decoder.onnx"
#: The text of ONNX writes no dots.
_DOTTED = {f"image_embeddings_{level}": f"image_embeddings.{level}" for level in range(3)}
#: Labels of points to ignore are -10 there.
_LABELS = """
    given_kinds = Cast <to = 1> (given_labels)
    given_least = Constant <value_float = -2.0> ()
    point_labels = Max (given_kinds, given_least)"""
_ANSWER = f"""
{pieces.candidates("three_masks", "three_ious")}
    image_axis = Constant <value_ints = [0]> ()
    pred_masks = Unsqueeze (three_masks, image_axis)
    iou_scores = Unsqueeze (three_ious, image_axis)"""


def _write_sam(bundle: Bundle, folder: Path) -> None:
    side, channels, grid, low = sides_of(bundle)
    # The positions are in our decoder already: what is passed on in their place is read by nobody.
    features = f"""
    float[1,{channels},{grid},{grid}] image_embeddings,
    float[1] image_positional_embeddings"""
    encoder = f"""
vision_encoder (float[1,3,{side},{side}] pixel_values) => ({features}
)
{{{pieces.unnormalised("pixel_values", "image")}
    image_embeddings = encoder (image)
    image_positional_embeddings = Constant <value = float[1] {{0.0}}> ()
}}"""
    decoder = f"""
prompt_encoder_mask_decoder ({features},
    float[1,prompts,points,2] input_points,
    int64[1,prompts,points] input_labels
) => (
    float[1,prompts,3] iou_scores,
    float[1,prompts,3,{low},{low}] pred_masks
)
{{
    first = Constant <value_ints = [0]> ()
    point_coords = Squeeze (input_points, first)
    given_labels = Squeeze (input_labels, first)
{_LABELS}{pieces.padding_unless_boxed()}{pieces.padding_token(kind="unless")}{pieces.no_masks(low)}
    four_masks, four_ious = decoder (image_embeddings, coords, labels, mask, has_mask)
{_ANSWER}
}}"""
    save(bundle, encoder, folder / _ENCODER)
    save(bundle, decoder, folder / _DECODER)
    sizes = {"size": {"longest_edge": side}, "do_pad": True, "pad_size": _square(side)}
    _write_json(bundle, folder, "sam", "Sam", sizes, {})


def _write_sam2(bundle: Bundle, folder: Path) -> None:
    side, channels, grid, low = sides_of(bundle)
    features = f"""
    float[1,{channels // 8},{low},{low}] image_embeddings_0,
    float[1,{channels // 4},{low // 2},{low // 2}] image_embeddings_1,
    float[1,{channels},{grid},{grid}] image_embeddings_2"""
    encoder = f"""
vision_encoder (float[1,3,{side},{side}] pixel_values) => ({features}
)
{{{pieces.unnormalised("pixel_values", "image")}
    image_embeddings_2, image_embeddings_0, image_embeddings_1 = encoder (image)
}}"""
    # Points, boxes, or both: of what is not given there are none, and an axis of length 0.
    decoder = f"""
prompt_encoder_mask_decoder (
    float[1,groups,points,2] input_points,
    int64[1,prompts,points] input_labels,
    float[1,boxes,4] input_boxes,{features}
) => (
    float[1,prompts,3] iou_scores,
    float[1,prompts,3,{low},{low}] pred_masks,
    float[1,prompts,1] object_score_logits
)
{{
    first = Constant <value_ints = [0]> ()
    one = Constant <value_ints = [1]> ()
    two = Constant <value_ints = [2]> ()
    corners = Constant <value = int64[1,2] {{2, 3}}> ()
    given_points = Squeeze (input_labels, first)
    prompts = Shape <start = 1, end = 2> (input_labels)
    boxes = Shape <start = 1, end = 2> (input_boxes)
    boxed = Min (boxes, one)
    ends = Mul (boxed, two)
    box_shape = Concat <axis = 0> (prompts, ends, two)
    box_coords = Reshape <allowzero = 1> (input_boxes, box_shape)
    box_kinds = Slice (corners, first, ends, one)
    label_shape = Concat <axis = 0> (prompts, ends)
    box_labels = Expand (box_kinds, label_shape)
    count = Shape <start = 2, end = 3> (input_labels)
    point_shape = Concat <axis = 0> (prompts, count, two)
    points_only = Reshape <allowzero = 1> (input_points, point_shape)
    given_labels = Concat <axis = 1> (box_labels, given_points)
    point_coords = Concat <axis = 1> (box_coords, points_only)
{_LABELS}{pieces.padding_token()}{pieces.no_masks(low)}
    four_masks, four_ious, score = decoder (
        image_embeddings_2, image_embeddings_0, image_embeddings_1, coords, labels, mask, has_mask)
{_ANSWER}
    object_score_logits = Unsqueeze (score, image_axis)
}}"""
    save(bundle, encoder, folder / _ENCODER, _DOTTED)
    save(bundle, decoder, folder / _DECODER, _DOTTED)
    own = {"vision_config": {"num_feature_levels": 3, "image_size": side}}
    _write_json(bundle, folder, "sam2", "Sam2", {"size": _square(side)}, own)


def _square(side: int) -> dict[str, int]:
    return {"height": side, "width": side}


def _write_json(
    bundle: Bundle,
    folder: Path,
    kind: str,
    prefix: str,
    sizes: dict[str, Any],
    own: dict[str, Any],
) -> None:
    config = {
        "model_type": kind,
        "architectures": [f"{prefix}Model"],
        "name_or_path": bundle.manifest.architecture,
        **own,
    }
    images = {
        "image_processor_type": f"{prefix}ImageProcessor",
        "processor_class": f"{prefix}Processor",
        "do_resize": True,
        "resample": 2,
        **sizes,
        "do_convert_rgb": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [value / 255 for value in PIXEL_MEAN],
        "image_std": [value / 255 for value in PIXEL_STD],
    }
    for name, content in (("config", config), ("preprocessor_config", images)):
        (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", "utf-8")


class SamAdapter(OnnxAdapter):
    """``SamImageProcessor`` and ``SamModel``. Images are resized without antialiasing, to sizes
    that are rounded down."""

    files = (_ENCODER, _DECODER)
    sizes: tuple[Size, ...] = ((240, 320), (512, 256))

    def _resized_size(self, size: tuple[int, ...]) -> Size:
        scale = self.side / max(size)
        return int(round(size[0] * scale, 2)), int(round(size[1] * scale, 2))

    def resized(self, image: NDArray[Any]) -> NDArray[Any]:
        height, width = self._resized_size(image.shape[:2])
        return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR))

    def tensor(self, image: NDArray[Any]) -> Array:
        return padded((self.resized(image) / 255 - MEAN / 255) / (STD / 255), self.side)

    def tokens(self, prompt: Prompt) -> Tokens:
        """The decoder adds the padding point where there is no box."""
        return marks(prompt) if prompt.box is not None else with_padding(marks(prompt))

    def feeds(self, prompt: Prompt) -> dict[str, Array]:
        """Prompts of one prompt; corners of a box are points with labels of their own."""
        points, labels = marks(prompt)
        return {"input_points": self._scaled(points)[None, None], "input_labels": _int(labels)}

    def _scaled(self, points: Array) -> Array:
        height, width = self._resized_size(self.size)
        return np.asarray(points * (width / self.size[1], height / self.size[0]), np.float32)

    def masks(self, prompt: Prompt) -> NDArray[Any]:
        names = [each.name for each in self.encoder.get_outputs()]
        features = dict(zip(names, self.features, strict=True))
        (masks,) = self.decoder.run(["pred_masks"], {**features, **self.feeds(prompt)})
        height, width = self._resized_size(self.size)
        full = [cv2.resize(mask, (self.side, self.side))[:height, :width] for mask in masks[0, 0]]
        return inside(np.stack([cv2.resize(mask, self.size[::-1]) for mask in full]))

    def answers(self, tokens: int) -> tuple[Candidates, ...]:
        """Three candidates."""
        return (1,), (2,), (3,)


class Sam2Adapter(SamAdapter):
    """``Sam2ImageProcessor`` and ``Sam2Model``."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        # It brings the masks to others in two steps instead of the model's one.
        self.sizes = ((self.side, self.side),)

    def _resized_size(self, size: tuple[int, ...]) -> Size:
        return self.side, self.side

    def tokens(self, prompt: Prompt) -> Tokens:
        """The decoder adds the padding point."""
        return with_padding(marks(prompt))

    def feeds(self, prompt: Prompt) -> dict[str, Array]:
        """Points, a box or both; of what is not given there is an empty tensor."""
        points, labels = marks(Prompt(points=prompt.points, labels=prompt.labels))
        corners = np.zeros((0, 4)) if prompt.box is None else np.reshape(prompt.box, (1, 4))
        boxes = self._scaled(corners.reshape(-1, 2)).reshape(1, -1, 4)
        return {
            "input_points": self._scaled(points)[None, None],
            "input_labels": _int(labels),
            "input_boxes": boxes,
        }


def _int(labels: Array) -> Array:
    return labels.astype(np.int64)[None, None]


LAYOUT = Layout(
    "transformersjs",
    "transformers.js 4",
    {"sam": Flavour(_write_sam, SamAdapter), "sam2": Flavour(_write_sam2, Sam2Adapter)},
)
