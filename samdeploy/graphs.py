"""The contract of a bundle's graphs, checked once above every backend."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from samdeploy.errors import BundleError, InputError
from samdeploy.session import Array, Session, TensorSpec

ENCODER, DECODER = "encoder", "decoder"
ROLES = (ENCODER, DECODER)

#: Names of the inputs and outputs that every backend must offer.
CONTRACT = {
    ENCODER: (("image",), ("image_embeddings",)),
    DECODER: (
        ("image_embeddings", "point_coords", "point_labels", "mask_input", "has_mask_input"),
        ("low_res_masks", "iou_predictions"),
    ),
}

#: What each of them holds, for the descriptions inside the artifacts.
MEANING = {
    "image": "RGB in 0-255, longer side resized to S, padded right and bottom with the pixel mean",
    "image_embeddings": "features of the image at a sixteenth of the input",
    "point_coords": "(x, y) in encoder-input pixels",
    "point_labels": "1 foreground, 0 background, 2 and 3 box corners, -1 SAM's padding point "
    "(with points without a box), -2 no token",
    "mask_input": "logits of an earlier answer",
    "has_mask_input": "1 where mask_input is to be used, else 0",
    "low_res_masks": "logits in the padded frame at a quarter of the input; index 0 is the "
    "single-mask output; a pixel is inside when its logit is above 0",
    "iou_predictions": "predicted IoU of each mask",
}


def encoder_specs(
    image_size: int, channels: int
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs of the encoder graph."""
    grid = image_size // 16
    return (
        (TensorSpec("image", (1, 3, image_size, image_size)),),
        (TensorSpec("image_embeddings", (1, channels, grid, grid)),),
    )


def decoder_specs(
    image_size: int, channels: int, outputs: int = 4
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs of the decoder graph; the dynamic dimensions are ``prompts`` and
    ``points``."""
    grid, low = image_size // 16, image_size // 4
    return (
        (
            TensorSpec("image_embeddings", (1, channels, grid, grid)),
            TensorSpec("point_coords", ("prompts", "points", 2)),
            TensorSpec("point_labels", ("prompts", "points")),
            TensorSpec("mask_input", ("prompts", 1, low, low)),
            TensorSpec("has_mask_input", ("prompts",)),
        ),
        (
            TensorSpec("low_res_masks", ("prompts", outputs, low, low)),
            TensorSpec("iou_predictions", ("prompts", outputs)),
        ),
    )


class CheckedSession:
    """A session whose feeds are checked for names, dtypes and shapes before they reach the backend.

    Raises (on construction):
        BundleError: the graph does not have the inputs and outputs of its role.
    """

    def __init__(self, session: Session, role: str) -> None:
        for kind, expected, found in zip(
            ("inputs", "outputs"),
            CONTRACT[role],
            (session.inputs, session.outputs),
            strict=True,
        ):
            names = tuple(spec.name for spec in found)
            if set(names) != set(expected):
                raise BundleError(
                    f"the {role} graph has {kind} {list(names)}; expected {list(expected)}."
                )
        self._session = session

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self._session.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self._session.outputs

    @property
    def provider(self) -> str:
        return self._session.provider

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Raises :class:`InputError` when ``feeds`` do not fit the graph."""
        expected = {spec.name for spec in self.inputs}
        if set(feeds) != expected:
            raise InputError(f"feeds are {sorted(feeds)}; expected {sorted(expected)}.")
        sizes: dict[str, int] = {}
        for spec in self.inputs:
            check_array(spec, feeds[spec.name], sizes)
        return self._session.run(
            {name: np.ascontiguousarray(array) for name, array in feeds.items()}
        )

    def close(self) -> None:
        self._session.close()


def check_array(spec: TensorSpec, array: Array, sizes: dict[str, int]) -> None:
    """Compare an array with its spec; ``sizes`` collects what each dynamic dimension is, which must
    be the same everywhere."""
    if array.dtype != spec.numpy_dtype:
        raise InputError(f"'{spec.name}' is {array.dtype}; expected {spec.dtype}.")
    fits = len(array.shape) == len(spec.shape) and all(
        found == wanted
        if isinstance(wanted, int)
        else found > 0 and sizes.setdefault(wanted, found) == found
        for found, wanted in zip(array.shape, spec.shape, strict=True)
    )
    if not fits:
        raise InputError(
            f"'{spec.name}' has shape {list(array.shape)}; expected {list(spec.shape)}, with the "
            "same number wherever a name appears."
        )


def spec_of(specs: tuple[TensorSpec, ...], name: str) -> TensorSpec:
    return next(spec for spec in specs if spec.name == name)


def fixed_shape(session: Session, name: str) -> tuple[int, ...]:
    """Shape of an input that must not be dynamic, such as the encoder's image.

    Raises:
        BundleError: it is dynamic.
    """
    shape = spec_of(session.inputs, name).shape
    numbers = tuple(side for side in shape if isinstance(side, int))
    if len(numbers) != len(shape):
        raise BundleError(f"input '{name}' has shape {list(shape)}; expected fixed numbers.")
    return numbers
