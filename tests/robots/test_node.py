"""What a node does with frames, requests and faults, with a model that sees colours."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest

from samdeploy import InputError, RuntimeUnavailableError
from samdeploy.robots import wishes
from samdeploy.robots.messages import CameraFrame, Level, Request, Segmented
from samdeploy.robots.stages import percentile
from tests.robots.painted_node import Setup
from tests.tracking.painted import BLUE, GREEN, RED, SIDE, paint, sliding

RED_BOX, GREEN_BOX, BLUE_BOX = (16, 48, 48, 80), (80, 16, 104, 40), (8, 100, 24, 116)
SCENE = paint((RED_BOX, RED), (GREEN_BOX, GREEN), (BLUE_BOX, BLUE))


def ids_of(result: Segmented) -> list[int]:
    return [each.id for each in result.found]


def failing(patch: pytest.MonkeyPatch, setup: Setup, call: int, error: Exception) -> None:
    """From now on the decoder raises ``error`` in the call of this number, from 0."""
    model, decode = setup.model.colours, setup.model.colours.decode
    first = len(model.batches)

    def decoded(*arguments: Any) -> Any:
        if len(model.batches) == first + call:
            raise error
        return decode(*arguments)

    patch.setattr(model, "decode", decoded)


class TestObjects:
    def test_ids_last_while_others_come_and_go(self) -> None:
        setup = Setup()
        red_boxes = sliding(100, (8, 8, 32, 32), (1, 0))
        blue_boxes = sliding(100, (4, 64, 20, 80), (1, 0))
        red = setup.node.add(Request(box=(8, 8, 32, 32)))
        green = setup.node.add(Request(box=(96, 100, 120, 124)))
        blue = -1
        for number, (first, second) in enumerate(zip(red_boxes, blue_boxes, strict=True)):
            image = paint((first, RED), (second, BLUE), ((96, 100, 120, 124), GREEN))
            if number == 30:
                blue = setup.node.add(Request(points=[[second[0] + 8, 72]], name="cup"))
            if number == 60:
                setup.node.remove(green)
            result = setup.show(image)
            colours = {red: RED} | ({green: GREEN} if number < 60 else {})
            colours |= {blue: BLUE} if number >= 30 else {}
            assert (result.lost, result.ended) == ((), {})
            assert ids_of(result) == sorted(colours)
            for each in result.found:
                assert (each.name, each.followed) == ("cup" if each.id == blue else "", True)
                shown = (image[each.rle.decode()] == colours[each.id]).all(axis=1)
                assert shown.mean() > 0.75  # cells are 4 pixels wide

    def test_one_that_leaves_is_lost_then_ended(self) -> None:
        setup = Setup(search_frames=3)
        id = setup.node.add(Request(box=RED_BOX))
        setup.show(SCENE)
        empty = paint()
        results = [setup.show(empty) for _ in range(5)]
        assert [each.lost for each in results] == [(id,)] * 4 + [()]
        assert results[4].ended == {id: "not seen for 3 frames."}
        assert setup.node.diagnosis().values["objects"] == 0
        with pytest.raises(InputError, match=rf"object {id} is not followed"):
            setup.node.remove(id)

    def test_a_prompt_that_shows_nothing_ends_at_once(self) -> None:
        setup = Setup()
        id = setup.node.add(Request(points=[[1, 1]]))
        assert setup.show(SCENE).ended == {id: "its prompt shows no object."}
        assert setup.node.add(Request(points=[[20, 60]])) == id + 1

    def test_one_may_be_removed_before_it_begins(self) -> None:
        setup = Setup()
        id = setup.node.add(Request(box=RED_BOX))
        setup.node.remove(id)
        assert ids_of(setup.show(SCENE)) == []
        assert setup.model.colours.encoded == 0  # there was nothing to do

    @pytest.mark.parametrize("call", [0, 1])
    def test_what_a_failed_frame_was_asked_is_asked_of_the_next(
        self, monkeypatch: pytest.MonkeyPatch, call: int
    ) -> None:
        setup = Setup()
        ended = setup.node.add(Request(box=RED_BOX))
        setup.show(SCENE)
        setup.node.remove(ended)
        added, removed = (setup.node.add(Request(box=box)) for box in (GREEN_BOX, RED_BOX))
        setup.node.prompt([Request(box=BLUE_BOX, name="cup")])
        with monkeypatch.context() as patch:
            error = RuntimeUnavailableError("the device is gone; choose another.")
            failing(patch, setup, call, error)
            assert setup.show(SCENE) is None
        told = setup.node.diagnosis()
        assert (told.level, told.message) == (Level.ERROR, str(error))
        setup.node.remove(removed)
        result = setup.show(SCENE)
        assert [(each.box, each.followed) for each in result.found] == [
            (GREEN_BOX, True),
            (BLUE_BOX, False),
        ]
        assert (result.found[0].id, result.found[1].name, result.ended) == (added, "cup", {})
        assert ids_of(setup.show(SCENE)) == [added]

    def test_what_the_model_cannot_be_asked_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The same request would fail in every frame."""
        setup = Setup()
        kept = setup.node.add(Request(box=RED_BOX))
        setup.show(SCENE)
        added = setup.node.add(Request(box=GREEN_BOX))
        with monkeypatch.context() as patch:
            failing(patch, setup, 1, InputError("a prompt has 9 tokens; expected 4."))
            assert setup.show(SCENE) is None
        result = setup.show(SCENE)
        assert ids_of(result) == [kept]
        assert result.ended == {added: "a prompt has 9 tokens; expected 4."}
        assert setup.node.diagnosis().values["objects"] == 1

    def test_a_failed_frame_hides_no_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        setup = Setup()
        id = setup.node.add(Request(box=RED_BOX))
        setup.show(SCENE)
        setup.node.prompt([Request(box=GREEN_BOX)])
        with monkeypatch.context() as patch:
            failing(patch, setup, 0, RuntimeUnavailableError("the device is gone."))
            assert setup.show(SCENE[:64, :32]) is None
        ended = {id: "frames have 32 x 64 pixels now, and had 128 x 128."}
        assert setup.show(SCENE).ended == ended

    def test_only_so_many_are_followed(self) -> None:
        setup = Setup(max_objects=2)
        ids = [setup.node.add(Request(box=box)) for box in (RED_BOX, GREEN_BOX)]
        with pytest.raises(InputError, match="2 objects are followed; remove one, or raise max_"):
            setup.node.add(Request(box=BLUE_BOX))
        setup.node.remove(ids[0])
        setup.node.add(Request(box=BLUE_BOX))

    def test_ids_in_use_are_passed_over_when_all_have_been_given(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(wishes, "MOST_IDS", 4)
        setup = Setup()
        assert setup.node.add(Request(box=RED_BOX)) == 1
        for id in (2, 3, 4, 2):
            assert setup.node.add(Request(box=GREEN_BOX)) == id
            setup.show(SCENE)
            setup.node.remove(id)
        assert ids_of(setup.show(SCENE)) == [1]

    def test_frames_of_another_size_end_them(self) -> None:
        setup = Setup()
        id = setup.node.add(Request(box=RED_BOX))
        setup.show(SCENE)
        result = setup.node._resized((64, 32))  # the painted model has but one size
        assert result == {id: "frames have 32 x 64 pixels now, and had 128 x 128."}

    def test_a_size_that_is_seen_no_more_refuses_nothing(self) -> None:
        setup = Setup()
        setup.node.prompt([Request(box=RED_BOX)])
        setup.show(SCENE)
        setup.show(np.zeros((300, 400, 3), np.uint8))  # in which nothing is wanted
        assert setup.node.add(Request(points=[[390, 290]])) > 0

    @pytest.mark.parametrize(
        ("request_", "why"),
        [
            (Request(), "an empty Prompt"),
            (Request(points=[[500, 3]]), r"point \(500, 3\) is outside the image"),
            (Request(points=[[5, 3]], labels=[1, 0]), "2 labels for 1 points"),
            (Request(box=[50, 50, 40, 60]), "has no area in the image"),
            (Request(box=[float("nan"), 0, 9, 9]), "not finite"),
            (Request(box=[1, 2, 3]), r"expected \[x1, y1, x2, y2\]"),
            (Request(labels=[1]), "came without points"),
            (Request(points=[[5, 3]], labels=["a"]), "labels="),  # type: ignore[list-item]
        ],
    )
    def test_what_does_not_fit_is_refused(self, request_: Request, why: str) -> None:
        setup = Setup()
        early = setup.node.add(request_)  # no frame has told its size yet
        result = setup.show(SCENE)
        assert list(result.ended) == [early]
        with pytest.raises(InputError, match=why):
            setup.node.add(request_)
        with pytest.raises(InputError, match=why):
            setup.node.prompt([request_])
        assert setup.show(SCENE).found == ()

    def test_what_is_no_list_of_numbers_is_refused_at_once(self) -> None:
        for request in (Request(box=["a"] * 4), Request(points=3), Request(labels=1)):  # type: ignore[arg-type, list-item]
            with pytest.raises(
                InputError, match=r"expected \[\[x, y\], \.\.\.\], \[1, \.\.\.\] and"
            ):
                Setup().node.add(request)

    def test_boxes_of_detectors_are_cut_at_the_edges(self) -> None:
        setup = Setup()
        setup.node.prompt([Request(box=[-30, 90, 30, 400])])
        assert len(setup.show(SCENE).found) == 1


class TestPrompts:
    def test_they_are_of_one_frame_and_the_newest_count(self) -> None:
        setup = Setup()
        setup.node.prompt([Request(box=RED_BOX)])
        setup.node.prompt([Request(box=GREEN_BOX, name="leaf"), Request(box=BLUE_BOX)])
        result = setup.show(SCENE)
        assert [(each.name, each.followed) for each in result.found] == [
            ("leaf", False),
            ("", False),
        ]
        assert result.found[0].box == GREEN_BOX
        assert result.found[0].area == int((result.labels == result.found[0].id).sum())
        assert setup.show(SCENE).found == ()

    def test_they_share_a_frame_with_what_is_followed(self) -> None:
        setup = Setup()
        kept = setup.node.add(Request(box=RED_BOX))
        for _ in range(3):
            setup.node.prompt([Request(box=GREEN_BOX)])
            result = setup.show(SCENE)
            assert result.found[0].id == kept
            assert len(set(ids_of(result))) == 2
        assert setup.model.colours.encoded == 3

    def test_they_can_be_followed(self) -> None:
        setup, added = Setup(follow_prompts=True), list[int]()
        setup.node.prompt([Request(box=RED_BOX)], added.append)
        assert added == [1]
        assert ids_of(setup.show(SCENE)) == ids_of(setup.show(SCENE)) == [1]

    def test_only_so_many(self) -> None:
        setup = Setup(max_prompts=1)
        with pytest.raises(InputError, match="2 prompts in one message; expected at most 1"):
            setup.node.prompt([Request(box=RED_BOX)] * 2)

    def test_small_ones_lie_over_large_ones(self) -> None:
        setup = Setup()
        setup.node.prompt([Request(points=[[64, 64]]), Request(points=[[40, 40]])])
        image = paint(((0, 0, SIDE, SIDE), RED), ((32, 32, 48, 48), GREEN))
        labels = setup.show(image).labels
        assert (labels.dtype, labels.shape) == (np.uint16, (SIDE, SIDE))
        assert (labels[40, 40], labels[64, 64]) == (2, 1)


class TestLoad:
    def test_the_newest_frame_is_taken_and_drops_are_counted(self) -> None:
        setup = Setup()
        for header in range(5):
            setup.offer(SCENE, header)
        assert setup.node.step().header == 4  # type: ignore[union-attr]
        assert setup.node.step() is None
        values = setup.node.diagnosis().values
        assert (values["frames_received"], values["frames_dropped"]) == (5, 4)
        assert values["frames_segmented"] == 1

    def test_dropped_frames_are_never_read(self) -> None:
        setup, read = Setup(), []
        for header in range(3):
            setup.node.offer(CameraFrame(lambda header=header: read.append(header) or SCENE))
        setup.node.step()
        assert read == [2]

    def test_a_fast_camera(self) -> None:
        """Every frame is segmented or counted as dropped, in order, and the last is never lost."""
        setup, seen = Setup(), list[int]()

        def publish(result: Segmented) -> None:
            seen.append(result.header)
            time.sleep(0.003)

        def camera() -> None:
            for number in range(200):
                setup.offer(SCENE, number)
                time.sleep(0.0005)

        thread = threading.Thread(target=camera)
        thread.start()
        while not seen or seen[-1] != 199:
            setup.node.step(publish, seconds=5)
        thread.join()
        values = setup.node.diagnosis().values
        assert seen == sorted(set(seen))
        assert values["frames_received"] == 200
        assert values["frames_dropped"] == 200 - len(seen) > 0

    def test_a_frame_is_waited_for(self) -> None:
        setup = Setup()
        threading.Timer(0.05, setup.offer, [SCENE, "late"]).start()
        result = setup.node.step(seconds=10)
        assert result is not None
        assert result.header == "late"


class TestTimes:
    def test_of_each_stage(self) -> None:
        setup = Setup()
        setup.node.add(Request(box=RED_BOX))
        setup.model.seconds = [0.01] * 98 + [0.5] * 2
        for _ in range(100):
            setup.offer(SCENE)
            setup.clock.now += 0.03  # in the queue
            setup.node.step(lambda result: setattr(setup.clock, "now", setup.clock.now + 0.002))
        values = setup.node.diagnosis().values
        assert values["queue_p50_ms"] == values["queue_p99_ms"] == 30
        assert (values["encode_p50_ms"], values["encode_p99_ms"]) == (10, 500)
        assert (values["publish_p99_ms"], values["decode_p99_ms"]) == (2, 0)
        assert (values["total_p50_ms"], values["total_worst_ms"]) == (42, 532)
        assert values["rate_hz"] == pytest.approx(99 / (97 * 0.042 + 2 * 0.532), abs=0.01)

    def test_older_frames_are_forgotten(self) -> None:
        setup = Setup(window=10)
        setup.node.add(Request(box=RED_BOX))
        setup.model.seconds = [9.0] * 5 + [0.01] * 10
        for _ in range(15):
            setup.show(SCENE)
        assert setup.node.diagnosis().values["encode_worst_ms"] == 10

    def test_the_first_frame_finds_a_warm_model(self) -> None:
        cold, warm = Setup(), Setup()
        for setup in (cold, warm):
            setup.model.seconds = [3.0, 0.01, 0.01]
            setup.node.add(Request(box=RED_BOX))
        assert warm.node.warm_up() == pytest.approx(3.01)
        for setup in (cold, warm):
            setup.show(SCENE)
        assert cold.node.diagnosis().values["encode_p99_ms"] == 3000
        values = warm.node.diagnosis().values
        assert (values["encode_p99_ms"], values["warmup_s"]) == (10, 3.01)
        assert values["frames_segmented"] == 1

    def test_percentiles(self) -> None:
        assert percentile([7], 99) == 7
        assert percentile(range(1, 101), 99) == 99
        assert percentile(range(1, 102), 99) == 100
        assert percentile([1, 2, 3], 50) == 2


class TestDiagnosis:
    def test_says_what_runs_where(self) -> None:
        diagnosis = Setup().node.diagnosis()
        assert (diagnosis.level, diagnosis.message) == (Level.OK, "ready")
        facts = ("model", "runtime", "device", "provider", "precision")
        assert [diagnosis.values[name] for name in facts] == [
            "painted", "none", "cpu", "NumPy", "fp32",
        ]  # fmt: skip

    def test_a_bad_frame_is_told_and_ends_nothing(self) -> None:
        setup = Setup()
        setup.node.add(Request(box=RED_BOX))

        def broken() -> np.ndarray:
            raise InputError("an image with no pixels; send some.")

        setup.node.offer(CameraFrame(broken))
        assert setup.node.step() is None
        told = setup.node.diagnosis()
        assert (told.level, told.message) == (Level.ERROR, "an image with no pixels; send some.")
        assert told.values["frames_refused"] == 1
        assert ids_of(setup.show(SCENE)) == [1]  # what was wanted is still wanted
        assert setup.node.diagnosis().level == Level.OK

    def test_silence_is_worth_a_warning(self) -> None:
        setup = Setup(stale_after=2)
        setup.show(SCENE)
        setup.clock.now += 2.5
        told = setup.node.diagnosis()
        assert (told.level, told.message) == (Level.WARN, "no frame for 2.5 s.")

    def test_closing_closes_the_model(self) -> None:
        setup = Setup()
        with setup.node:
            assert not setup.model.closed
        assert setup.model.closed
