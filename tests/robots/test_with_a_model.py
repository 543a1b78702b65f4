"""A node with the shipped model on a moving scene."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from samdeploy import SAM, Prompt
from samdeploy.embedding import Embedding
from samdeploy.errors import InputError, RuntimeUnavailableError
from samdeploy.images import ChannelOrder, ImageSource
from samdeploy.moving_scenes import SceneFrame, moving_scene
from samdeploy.robots.messages import CameraFrame, Request
from samdeploy.robots.node import Node
from samdeploy.robots.settings import NodeSettings
from samdeploy.tracking.frames import Frame

FRAMES, ADDED, REMOVED = 100, 30, 60


def box_of(frame: SceneFrame, index: int) -> list[float]:
    y, x = np.nonzero(frame.masks[index])
    return [float(x.min()), float(y.min()), float(x.max() + 1), float(y.max() + 1)]


class Remembering(SAM):
    """Keeps the latest embedding, so that nothing is encoded twice here."""

    latest: Embedding

    def encode(self, image: ImageSource, channel_order: ChannelOrder = "bgr") -> Embedding:
        self.latest = super().encode(image, channel_order)
        return self.latest


@pytest.mark.overnight  # the same with a model of colours is in test_node.py
@pytest.mark.slow
@pytest.mark.exporting
def test_ids_through_a_moving_scene(tiny_bundle: Path) -> None:
    """Two objects are followed through 100 frames or until one is removed, a third one from when it
    is added; the masks are those that Python's own tracker gives."""
    sam = Remembering(tiny_bundle, threads=1)
    with Node(sam, NodeSettings(str(tiny_bundle))) as node:
        tracker = sam.tracker()
        ids: dict[int, int] = {}  # of objects of the scene
        overlaps = []
        for number, frame in enumerate(moving_scene(3, FRAMES)):
            new = {0: (3, 5), ADDED: (7,)}.get(number, ())
            boxes = {index: box_of(frame, index) for index in new}
            ids |= {index: node.add(Request(box=box)) for index, box in boxes.items()}
            if number == REMOVED:
                node.remove(ids[5])
                tracker.remove(ids.pop(5))
            node.offer(CameraFrame(lambda frame=frame: frame.image))
            result = node.step()
            assert result is not None
            prompts = {ids[index]: Prompt(box=box) for index, box in boxes.items()}
            expected = tracker.step(Frame("", frame.image), prompts, sam.latest)
            masks = {each.id: each.rle.decode() for each in result.found}
            assert sorted(masks) == sorted(ids.values()) == expected.ids.tolist()
            for id, mask in zip(masks, expected.masks.iter_data(), strict=True):
                np.testing.assert_array_equal(masks[id], mask)
            for index, id in ids.items():
                truth = frame.masks[index]
                overlaps.append((masks[id] & truth).sum() / (masks[id] | truth).sum())
    assert ids == {3: 1, 7: 3}
    assert np.mean(overlaps) > 0.85
    assert min(overlaps) > 0.5
    values = node.diagnosis().values
    assert (values["frames_segmented"], values["frames_dropped"]) == (FRAMES, 0)
    assert 0 < float(values["encode_p50_ms"]) <= float(values["encode_p99_ms"])


def test_what_cannot_be_opened() -> None:
    with pytest.raises(RuntimeUnavailableError, match="device 'cuda'"):
        Node.open(NodeSettings("any", runtime="fake", device="cuda"))
    with pytest.raises(InputError, match="precision=fp7"):
        Node.open(NodeSettings("any", runtime="fake", precision="fp7"))
