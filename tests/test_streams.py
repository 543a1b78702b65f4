"""Decoder calls of whole-image mode side by side, on sessions of their own."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samdeploy import SAM
from samdeploy.errors import InputError
from samdeploy.graphs import MASK_HEAD, SCORER
from samdeploy.opening import OpenedModel, open_model
from samdeploy.runtimes.onnxruntime import OnnxSession
from samdeploy.scenes import Scene
from samdeploy.session import RuntimeOptions

pytestmark = pytest.mark.exporting

FEW: dict[str, Any] = {"points_stride": 5, "conf_thres": 0.0, "stability_score_thresh": 0.0}


@pytest.fixture
def opened(small_bundle: Path) -> OpenedModel:
    return open_model(small_bundle, options=RuntimeOptions(threads=2))


def test_they_find_the_same(small_bundle: Path, scene: Scene) -> None:
    def found(threads: int) -> Any:
        with SAM(small_bundle, threads=threads) as sam:
            return sam.generate(scene.image, channel_order="rgb", **FEW)

    one, two, three = map(found, (1, 2, 3))
    assert len(one) > 5
    for several in (two, three):
        np.testing.assert_array_equal(one.prompt_index, several.prompt_index)
        np.testing.assert_array_equal(one.data, several.data)


def test_two_calls_are_in_flight_at_a_time(
    opened: OpenedModel, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = threading.Barrier(2, timeout=30)
    run = OnnxSession.run
    begun = itertools.count()  # counted before the wait: one may be back while the other is not
    met: list[int] = []

    def meeting(session: OnnxSession, feeds: Any) -> Any:
        if "point_coords" in feeds and next(begun) < 2:
            met.append(both.wait())  # nobody gets on alone
        return run(session, feeds)

    monkeypatch.setattr(OnnxSession, "run", meeting)
    SAM(opened).generate(scene.image, channel_order="rgb", **FEW)
    assert sorted(met) == [0, 1]


def test_only_the_graphs_of_many_prompts_are_opened_again(opened: OpenedModel) -> None:
    divided = opened.divided()
    assert divided.streams == 2
    again = {
        role for role in opened.sessions if divided.sessions[role] is not opened.sessions[role]
    }
    assert again == {SCORER, MASK_HEAD}


def test_one_thread_has_nothing_to_divide(small_bundle: Path) -> None:
    opened = open_model(small_bundle, options=RuntimeOptions(threads=1))
    assert opened.divided() is opened


def test_they_are_closed_with_the_model(
    opened: OpenedModel, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[OnnxSession] = []
    monkeypatch.setattr(OnnxSession, "close", lambda session: closed.append(session))
    sam = SAM(opened)
    embedding = sam.encode(scene.image)
    sam.generate(embedding, **FEW)
    sam.close()
    assert len(set(closed)) == len(opened.sessions) + 2


def test_a_closed_model_opens_none(opened: OpenedModel, scene: Scene) -> None:
    sam = SAM(opened)
    embedding = sam.encode(scene.image)
    sam.close()
    with pytest.raises(InputError, match="closed; open the model again"):
        sam.generate(embedding, **FEW)
