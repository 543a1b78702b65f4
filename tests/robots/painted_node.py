"""A node whose model sees colours and whose clock stands still until it is moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samdeploy import Masks, Prompt
from samdeploy.embedding import Embedding
from samdeploy.images import ChannelOrder
from samdeploy.robots.messages import CameraFrame
from samdeploy.robots.node import Node
from samdeploy.robots.settings import NodeSettings
from samdeploy.tracking.settings import TrackSettings
from samdeploy.tracking.track import Tracker
from tests.tracking.painted import SIDE, ColourModel


class Clock:
    """Seconds that pass when somebody says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class PaintedModel:
    """Acts like a SAM. Encoding takes the ``seconds`` that are in the list, the first first, and
    none when it is empty."""

    image_size = SIDE

    def __init__(self, clock: Clock) -> None:
        self.colours = ColourModel()
        self.seconds: list[float] = []
        self.closed = False
        self._clock = clock

    def encode(self, image: NDArray[Any], channel_order: ChannelOrder) -> Embedding:
        assert channel_order == "rgb"
        self._clock.now += self.seconds.pop(0) if self.seconds else 0.0
        return self.colours.encode(image)

    def predict(self, target: Embedding, *, prompts: Sequence[Prompt]) -> Masks:
        batch = self.colours.encode_prompts(prompts, target.transform)
        answer = self.colours.decode(target, batch)
        logits = answer.masks(np.arange(len(batch)))[:, 0]
        return Masks.from_logits(logits, target.transform, answer.iou_predictions[:, 0])

    def tracker(self, **settings: Any) -> Tracker:
        return Tracker(self.colours.encode, self.colours, TrackSettings.from_names(settings))

    def info(self, verbose: bool = True) -> dict[str, Any]:
        assert not verbose
        return {
            "source": "painted", "runtime": "none", "device": "cpu", "arithmetic": "fp32",
            "providers": {"encoder": "NumPy", "decoder": "NumPy"},
        }  # fmt: skip

    def close(self) -> None:
        self.closed = True


class Setup:
    """A node with its parts in reach."""

    def __init__(self, **settings: Any) -> None:
        self.clock = Clock()
        self.model = PaintedModel(self.clock)
        chosen = NodeSettings.from_names({"model": "painted", **settings})
        self.node = Node(self.model, chosen, self.clock)

    def offer(self, image: NDArray[Any], header: Any = None) -> None:
        self.node.offer(CameraFrame(lambda: image, header))

    def show(self, image: NDArray[Any], header: Any = None) -> Any:
        """Offer and segment; the result, or ``None`` for a frame that is refused."""
        self.offer(image, header)
        return self.node.step()
