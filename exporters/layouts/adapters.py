"""What the adapters of several tools do alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from samdeploy.constants import (
    LABEL_BOX_BOTTOM_RIGHT,
    LABEL_BOX_TOP_LEFT,
    LABEL_PADDING,
    MASK_THRESHOLD,
    PIXEL_MEAN,
    PIXEL_STD,
)
from samdeploy.geometry import Size
from samdeploy.layouts import Candidates, Tokens
from samdeploy.prompts import Prompt
from samdeploy.session import Array

MEAN, STD = (np.array(values, np.float32) for values in (PIXEL_MEAN, PIXEL_STD))
AMBIGUOUS: Candidates = (1, 2, 3)
_PROVIDER = "CPUExecutionProvider"


class OnnxAdapter(ABC):
    """Opens an encoder and a decoder, by default of the usual names."""

    sizes: tuple[Size, ...] = ((240, 320), (300, 220))
    provider: str = _PROVIDER
    files: ClassVar[tuple[str, ...]] = ("encoder.onnx", "decoder.onnx")

    def __init__(self, folder: Path) -> None:
        sessions = [onnxruntime.InferenceSession(folder / name, providers=[_PROVIDER])
                    for name in self.files]  # fmt: skip
        self.encoder, self.decoder = sessions[0], sessions[-1]
        self.input = self.encoder.get_inputs()[0]
        self.size: Size = (0, 0)
        self.features: list[Array] = []

    def close(self) -> None:
        del self.encoder, self.decoder

    @property
    def side(self) -> int:
        """Of the encoder input, in pixels."""
        return int(self.input.shape[-1])

    @abstractmethod
    def resized(self, image: NDArray[Any]) -> NDArray[Any]:
        """RGB in 0-255 ``[h, w, 3]`` as the tool resizes it for the model, without padding."""

    @abstractmethod
    def tensor(self, image: NDArray[Any]) -> Array:
        """The encoder's input."""

    def pixels(self, image: NDArray[Any]) -> Array:
        """See :meth:`samdeploy.layouts.Adapter.pixels`."""
        resized = self.resized(image)
        frame = np.broadcast_to(MEAN, (self.side, self.side, 3)).copy()
        frame[: resized.shape[0], : resized.shape[1]] = resized
        return np.ascontiguousarray(frame.transpose(2, 0, 1)[None])

    def encode(self, image: NDArray[Any]) -> None:
        """Keep the image's size and features."""
        self.size = (image.shape[0], image.shape[1])
        self.features = self.encoder.run(None, {self.input.name: self.tensor(image)})

    def tokens(self, prompt: Prompt) -> Tokens:
        """Points, then the corners of the box."""
        return marks(prompt)


def marks(prompt: Prompt) -> Tokens:
    """Points of a prompt and the corners of its box, with their labels."""
    points = np.zeros((0, 2)) if prompt.points is None else np.reshape(prompt.points, (-1, 2))
    labels = np.ones(len(points)) if prompt.labels is None else np.ravel(prompt.labels)
    if prompt.box is not None:
        points = np.concatenate([points, np.reshape(prompt.box, (2, 2))])
        labels = np.concatenate([labels, [LABEL_BOX_TOP_LEFT, LABEL_BOX_BOTTOM_RIGHT]])
    return points.astype(np.float64), labels.astype(np.float64)


def with_padding(tokens: Tokens) -> Tokens:
    """``tokens`` and SAM's padding point behind them."""
    points, labels = tokens
    return np.concatenate([points, np.zeros((1, 2))]), np.append(labels, LABEL_PADDING)


def prompt_feeds(
    points: Array, labels: Array, size: Size, low: int = 256, no_mask: float = 0.0
) -> dict[str, Array]:
    """The inputs of one prompt without a mask, called as in SAM's ONNX export.

    Args:
        points, labels: in input pixels.
        size: (height, width) that masks are wanted in.
        low: side of low-res masks; most tools know models of 1024 pixels only.
        no_mask: how the tool says that there is no mask.
    """
    return {
        "point_coords": np.float32(points)[None],
        "point_labels": np.float32(labels)[None],
        "mask_input": np.zeros((1, 1, low, low), np.float32),
        "has_mask_input": np.array([no_mask], np.float32),
        "orig_im_size": np.array(size, np.float32),
    }


def padded(pixels: NDArray[Any], side: int) -> Array:
    """Normalised pixels ``[h, w, 3]`` to ``[1, 3, side, side]``, zeros on the right and below."""
    height, width = pixels.shape[:2]
    square = np.pad(pixels, ((0, side - height), (0, side - width), (0, 0)))
    return np.ascontiguousarray(square.transpose(2, 0, 1)[None], np.float32)


def inside(logits: Array) -> NDArray[np.bool_]:
    """Which pixels are of a mask."""
    return np.asarray(logits > MASK_THRESHOLD)


def chosen_by_tokens(tokens: int) -> tuple[Candidates, ...]:
    """The one mask of SAM's ONNX export with ``--return-single-mask``."""
    return ((0,) if tokens > 2 else AMBIGUOUS,)
