"""An image to the input of the encoder graph, in the way that the model was trained with.

Models of one architecture differ in this alone: a fine-tune that was trained on squares answers
nonsense on padded images. A bundle's manifest records it, and every runtime heeds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from samdeploy.constants import PIXEL_MEAN, PIXEL_STD
from samdeploy.errors import InputError
from samdeploy.files import check_file
from samdeploy.geometry import Size, Transform, resize_image
from samdeploy.json_files import UnreadableError, decode_json, read_regular
from samdeploy.resampling import RESAMPLINGS
from samdeploy.text import shown, suggestion

_Value: TypeAlias = Annotated[float, Meta(ge=-1000, le=1000)]
_Channels: TypeAlias = tuple[_Value, _Value, _Value]
_Spread: TypeAlias = Annotated[float, Meta(gt=0, le=1000)]
_LONGEST = 1 << 16


class Preprocess(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=False):
    """What happens to the pixels of an image, in this order. The defaults are SAM's
    (arXiv:2304.02643).

    Attributes:
        resize: ``fit``, by the longer side and padded on the right and at the bottom, or
            ``square``, stretched to the input whatever its sides are.
        resampling: ``bilinear`` or ``bicubic`` (antialiased), ``area``, or ``spline`` (cubic
            B-splines behind a Gaussian).
        rounding: of the resized values to 8 bits: ``nearest``, ``down``, or ``none``.
        scaling: ``none``, or ``min-max``: the smallest value of the image becomes 0, the largest
            255.
        pad: RGB in 0-255 of what is padded.
        mean, std: RGB in 0-255, subtracted and divided by. This step is inside the encoder graph.
    """

    resize: Literal["fit", "square"] = "fit"
    resampling: Literal["bilinear", "bicubic", "area", "spline"] = "bilinear"
    rounding: Literal["nearest", "down", "none"] = "nearest"
    scaling: Literal["none", "min-max"] = "none"
    pad: _Channels = PIXEL_MEAN
    mean: _Channels = PIXEL_MEAN
    std: tuple[_Spread, _Spread, _Spread] = PIXEL_STD

    def transform(self, size: Size, image_size: int) -> Transform:
        """How an image of ``size`` (height, width) lies in an input of ``image_size`` pixels."""
        make = Transform.fit if self.resize == "fit" else Transform.square
        return make(size, image_size)

    def to_mapping(self) -> dict[str, Any]:
        """What a manifest records, and :func:`chosen_preprocess` reads."""
        mapping: dict[str, Any] = msgspec.to_builtins(self)
        return mapping


SAM_STEPS = Preprocess()
#: Nothing is rounded (arXiv:2408.00714 and its reference implementation).
SAM2_STEPS = Preprocess(resize="square", rounding="none")
#: Values in 0-1 and no statistics (arXiv:2304.12306 and its reference implementation).
MEDSAM_STEPS = Preprocess(
    resize="square",
    resampling="spline",
    rounding="down",
    scaling="min-max",
    mean=(0.0, 0.0, 0.0),
    std=(255.0, 255.0, 255.0),
)
#: By the name that people ask for.
NAMED = {"sam": SAM_STEPS, "sam2": SAM2_STEPS, "medsam": MEDSAM_STEPS}


def chosen_preprocess(
    given: Preprocess | Mapping[str, Any] | str | Path | None, own: Preprocess
) -> Preprocess:
    """The steps that are asked for: one of :data:`NAMED`, a mapping with what differs from ``own``,
    or the path of a JSON file that holds one; ``own``, those of the model's family, where nothing
    is.

    Raises:
        InputError: none of these, or a value out of range.
    """
    if given is None:
        return own
    if isinstance(given, Preprocess):
        return given
    if isinstance(given, (str, Path)):
        if str(given) in NAMED:
            return NAMED[str(given)]
        given = _read(given)
    if not isinstance(given, Mapping):
        raise InputError(f"preprocess={shown(given)}; expected {', '.join(NAMED)} or a mapping.")
    try:
        return msgspec.convert({**own.to_mapping(), **given}, Preprocess)
    except (msgspec.ValidationError, TypeError) as error:
        known = ", ".join(Preprocess.__struct_fields__)
        raise InputError(
            f"preprocess={shown(dict(given))} ({error}); expected values of {known}."
        ) from error


def preprocess(
    image: NDArray[np.uint8], image_size: int, steps: Preprocess = SAM_STEPS
) -> tuple[NDArray[np.float32], Transform]:
    """RGB uint8 ``[H, W, 3]`` -> float32 ``[1, 3, S, S]`` in 0-255, and the transform used.

    SAM's padding is the pixel mean, which the normalisation inside the graph turns into the zeros
    that it was trained with.
    """
    height, width = image.shape[:2]
    transform = steps.transform((height, width), image_size)
    new_height, new_width = transform.input_size
    resized = _resized(image, transform.input_size, steps)
    if steps.scaling == "min-max":
        low, high = float(resized.min()), float(resized.max())
        resized = (resized - np.float32(low)) * np.float32(255 / max(high - low, 1e-8))
    pad = np.array(steps.pad, np.float32).reshape(3, 1, 1)
    out = np.broadcast_to(pad, (1, 3, image_size, image_size)).copy()
    out[0, :, :new_height, :new_width] = resized.transpose(2, 0, 1)
    return out, transform


def _resized(image: NDArray[np.uint8], size: Size, steps: Preprocess) -> NDArray[Any]:
    if image.shape[:2] == size:
        return image
    if (steps.resampling, steps.rounding) == ("bilinear", "nearest"):
        return resize_image(image, size)  # Pillow's own arithmetic of 8 bits
    resized = RESAMPLINGS[steps.resampling](image, size)
    if steps.rounding == "none":
        return resized
    rounded = np.floor(resized + (0.5 if steps.rounding == "nearest" else 0.0))
    return np.asarray(rounded.clip(0, 255))


def _read(path: str | Path) -> Mapping[str, Any]:
    if not Path(path).suffix:
        raise InputError(f"preprocess={shown(str(path))}; {suggestion(str(path), list(NAMED))}")
    try:
        content = read_regular(check_file(path, "preprocess"), _LONGEST)
        mapping: dict[str, Any] = decode_json(content, dict[str, Any])
    except UnreadableError as error:
        raise InputError(
            f"preprocess='{path}' cannot be read ({error}); expected a JSON file."
        ) from error
    return mapping
