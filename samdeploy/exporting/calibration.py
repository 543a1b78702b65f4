"""Images that show a quantiser the range of every activation, as the encoder receives them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from samdeploy.errors import InputError
from samdeploy.images import load_image
from samdeploy.preprocess import SAM_STEPS, Preprocess, preprocess
from samdeploy.scenes import generate_scene
from samdeploy.session import Array
from samdeploy.sources import is_video, list_sources

#: Images of one calibration; of a larger folder, as many spread over it evenly.
COUNT = 32
# Far from the scenes that an artifact is verified on.
_FIRST_SEED = 10_000
_SIZES = ((240, 320), (320, 240), (256, 256))


def calibration_inputs(
    data: str, image_size: int, steps: Preprocess = SAM_STEPS
) -> Iterator[Array]:
    """float32 ``[1, 3, S, S]`` from the images of a folder or glob pattern, through the same
    preprocessing as any image of the model; generated scenes where ``data`` is empty.

    Raises:
        InputError: there are no images, or one cannot be read.
    """
    for image in _files(data) if data else _scenes():
        yield preprocess(image, image_size, steps)[0]


def check_data(data: str) -> None:
    """Raise :class:`InputError` when the folder or pattern has no images; empty is none wanted."""
    if data and all(map(is_video, list_sources(data))):
        raise InputError(f"data={data}; expected images, there are videos alone.")


def _files(data: str) -> Iterator[NDArray[np.uint8]]:
    files = [file for file in list_sources(data) if not is_video(file)]
    chosen = np.unique(np.linspace(0, len(files) - 1, min(COUNT, len(files))).round().astype(int))
    for index in chosen:
        yield load_image(files[index])


def _scenes() -> Iterator[NDArray[np.uint8]]:
    for index in range(COUNT):
        yield generate_scene(_FIRST_SEED + index, _SIZES[index % len(_SIZES)]).image
