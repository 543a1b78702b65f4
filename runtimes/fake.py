"""A runtime of plain NumPy that obeys the contracts: for tests and docs, without any library.

Its "encoder" averages the image over 16 x 16 cells; its "decoder" answers every prompt with a disc
around the prompt's points, or the prompt's box, at three sizes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from samdeploy.errors import InputError, RuntimeUnavailableError
from samdeploy.graphs import DECODER, ENCODER, graph_specs
from samdeploy.session import Array, Availability, RuntimeOptions, Session

IMAGE_SIZE, CHANNELS = 64, 3
_RADII = np.array([10.0, 6.0, 10.0, 16.0], np.float32)  # of outputs 0..3, in input pixels
_SCORES = np.array([0.95, 0.9, 0.95, 0.92], np.float32)


class FakeRuntime:
    name: ClassVar[str] = "fake"
    suffixes: ClassVar[tuple[str, ...]] = ()
    Options: ClassVar[type[RuntimeOptions]] = RuntimeOptions

    @classmethod
    def availability(cls) -> Availability:
        return Availability(devices=("cpu",), version="NumPy " + np.__version__)

    def open(self, graph: Path, role: str, *, device: str, options: RuntimeOptions) -> Session:
        """``graph`` is not read; every model looks the same."""
        if device != "cpu":
            raise RuntimeUnavailableError(f"device '{device}'; the fake runtime has only 'cpu'.")
        sessions: dict[str, type[Session]] = {ENCODER: FakeEncoder, DECODER: FakeDecoder}
        return sessions[role]()


class _FakeSession(ABC):
    provider = "NumPy"
    _closed = False

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        if self._closed:
            raise InputError("the session is closed; open the model again.")
        return self._answers(feeds)

    @abstractmethod
    def _answers(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs of an opened graph, by name."""

    def close(self) -> None:
        self._closed = True


class FakeEncoder(_FakeSession):
    inputs, outputs = graph_specs(IMAGE_SIZE, CHANNELS)[ENCODER]

    def _answers(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        grid = IMAGE_SIZE // 16
        cells = feeds["image"].reshape(1, CHANNELS, grid, 16, grid, 16)
        return {"image_embeddings": cells.mean(axis=(3, 5)).astype(np.float32)}


class FakeDecoder(_FakeSession):
    inputs, outputs = graph_specs(IMAGE_SIZE, CHANNELS)[DECODER]

    def _answers(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        side = IMAGE_SIZE // 4
        centre = (np.arange(side, dtype=np.float32) + 0.5) * 4
        y, x = centre[:, None], centre[None, :]
        answers = [
            self._answer(coords, labels, mask[0], has, x, y)
            for coords, labels, mask, has in zip(
                feeds["point_coords"],
                feeds["point_labels"],
                feeds["mask_input"],
                feeds["has_mask_input"],
                strict=True,
            )
        ]
        count = len(answers)
        return {
            "low_res_masks": np.stack(answers).astype(np.float32),
            "iou_predictions": np.tile(_SCORES, (count, 1)),
        }

    @staticmethod
    def _answer(coords: Array, labels: Array, mask: Array, has: float, x: Array, y: Array) -> Array:
        """Logits ``[4, side, side]`` of one prompt: positive inside, by distance to the border."""
        inside = np.full((len(_RADII), *mask.shape), -IMAGE_SIZE, np.float32)
        if has:
            inside = np.maximum(inside, mask)
        for (px, py), label in zip(coords, labels, strict=True):
            if label == 1:
                disc = _RADII[:, None, None] - np.hypot(x - px, y - py)
                inside = np.maximum(inside, disc)
        corners = [coords[labels == kind] for kind in (2, 3)]
        if all(len(found) for found in corners):
            (x1, y1), (x2, y2) = corners[0][0], corners[1][0]
            box = np.minimum(np.minimum(x - x1, x2 - x), np.minimum(y - y1, y2 - y))
            inside = np.maximum(inside, box)
        return inside
