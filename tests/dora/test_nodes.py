"""The nodes without a dataflow: what each makes of its inputs."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from samdeploy import InputError, RuntimeUnavailableError
from samdeploy.image_options import ImageOptions
from tests.robots.painted_node import Setup
from tests.tracking.painted import GREEN, RED, paint

pa = pytest.importorskip("pyarrow")
pytest.importorskip("dora")
mcap_reader = pytest.importorskip("mcap.reader")

from samdeploy.runtimes.dora import recorder, script  # noqa: E402
from samdeploy.runtimes.dora.events import batches  # noqa: E402
from samdeploy.runtimes.dora.messages import image_message  # noqa: E402
from samdeploy.runtimes.dora.script import read_script  # noqa: E402
from samdeploy.runtimes.dora.segmenter import Segmenter  # noqa: E402

RED_BOX, GREEN_BOX = [16, 48, 48, 80], [80, 16, 104, 40]
SCENE = paint((tuple(RED_BOX), RED), (tuple(GREEN_BOX), GREEN))  # type: ignore[arg-type]


def event(id: str, value: Any = None, **metadata: Any) -> dict[str, Any]:
    return {"type": "INPUT", "id": id, "value": value, "metadata": metadata}


def image_event(pixels: Any = SCENE, **metadata: Any) -> dict[str, Any]:
    value, own = image_message(pixels, "rgb8")
    return event("image", value, **own, timestamp="now", **metadata)


class Sent(list[tuple[str, list[Any], dict[str, Any]]]):
    def __call__(self, output: str, value: Any, metadata: dict[str, Any]) -> None:
        self.append((output, value.to_pylist(), metadata))


@pytest.fixture
def setup() -> Setup:
    return Setup()


class TestSegmenter:
    def test_add_follow_remove(self, setup: Setup) -> None:
        sent = Sent()
        segmenter = Segmenter(setup.node, sent)
        segmenter.take(event("add", pa.array([{"box": RED_BOX}]), request_id="a"))
        segmenter.take(image_event(frame=5, stamp=77))
        segmenter.step()
        segmenter.take(event("remove", pa.array([1])))
        segmenter.take(event("remove", pa.array([1]), request_id="b"))
        segmenter.take(image_event(frame=8))
        segmenter.step()
        replies = [(v[0], m) for output, v, m in sent if output == "reply"]
        assert replies[0] == ({"ids": [1], "error": ""}, {"request_id": "a", "input": "add"})
        assert replies[1] == ({"ids": [], "error": ""}, {"input": "remove"})
        assert replies[2][0]["error"] == "object 1 is not followed; expected one of: none."
        results = [(v[0], m) for output, v, m in sent if output == "objects"]
        assert [[each["id"] for each in result["found"]] for result, _ in results] == [[1], []]
        assert results[0][1] == {"frame": 5, "stamp": 77}
        [labels, metadata] = next((v, m) for output, v, m in sent if output == "labels")
        picture = np.reshape(labels, (metadata["height"], metadata["width"]))
        assert metadata["encoding"] == "mono16"
        assert (SCENE[picture == 1] == RED).all()

    def test_ids_that_came_before_a_refusal_are_told(self) -> None:
        fitting, beyond = {"points": [[20, 60]]}, {"points": [[500, 3]]}
        for input, setup in (("add", Setup()), ("prompts", Setup(follow_prompts=True))):
            sent = Sent()
            segmenter = Segmenter(setup.node, sent)
            segmenter.take(event("add", pa.array([fitting])))
            segmenter.take(image_event())
            segmenter.step()
            segmenter.take(event(input, pa.array([fitting, fitting, beyond])))
            [reply] = sent[-1][1]
            assert reply["ids"] == [2, 3]
            assert "point (500, 3) is outside the image" in reply["error"]
            segmenter.take(event(input, pa.array([fitting])))
            assert sent[-1][1] == [{"ids": [4], "error": ""}]

    @pytest.mark.parametrize("ids", [[[1, 2]], [{"id": 1}], ["1"], [None], [0]])
    def test_what_is_no_id_is_refused(self, setup: Setup, ids: list[Any]) -> None:
        sent = Sent()
        Segmenter(setup.node, sent).take(event("remove", pa.array(ids)))
        [reply] = sent[-1][1]
        assert reply["error"].startswith("id=")
        assert reply["error"].endswith("; expected a whole number from 1 up.")

    def test_compressed_frames_are_read_as_told(self, setup: Setup) -> None:
        """0 to 4095 is black to white, although the frame holds nothing above 255."""
        _, png = cv2.imencode(".png", np.full((128, 128), 160, np.uint16))
        value = pa.array(png.ravel())
        read = list[Any]()
        offered = setup.node.offer
        setup.node.offer = lambda frame: read.append(frame.read()) or offered(frame)  # type: ignore[method-assign]
        segmenter = Segmenter(setup.node, Sent(), ImageOptions(bit_depth=12))
        segmenter.take(event("image", value, encoding="png"))
        assert set(read[0].ravel().tolist()) == {10}

    def test_prompts_are_of_one_frame(self, setup: Setup) -> None:
        sent = Sent()
        segmenter = Segmenter(setup.node, sent)
        segmenter.take(event("prompts", pa.array([{"bbox": [*RED_BOX, *GREEN_BOX]}])))
        for _ in range(2):
            segmenter.take(image_event())
            segmenter.step()
        assert [len(v[0]["found"]) for output, v, _ in sent if output == "objects"] == [2, 0]

    def test_diagnostics_count_what_dora_dropped(self, setup: Setup) -> None:
        sent = Sent()
        segmenter = Segmenter(setup.node, sent)
        for number in (0, 1, 2, 6, "?", 9):
            segmenter.take(image_event(frame=number))
        segmenter.step()
        segmenter.take(event("tick"))
        [(output, [told], _)] = sent[-1:]
        assert (output, told["level"]) == ("diagnostics", "OK")
        assert (told["frames_received"], told["frames_dropped"], told["frames_missed"]) == (6, 5, 5)

    def test_bad_frames_are_told(self, setup: Setup) -> None:
        sent = Sent()
        segmenter = Segmenter(setup.node, sent)
        segmenter.take(event("image", pa.array([1, 2]), encoding="rgb8", width=9, height=9))
        segmenter.step()
        segmenter.tell()
        assert sent[-1][1][0]["level"] == "ERROR"
        assert "9 x 9 pixels in rgb8" in sent[-1][1][0]["message"]

    def test_other_inputs_are_refused(self, setup: Setup) -> None:
        with pytest.raises(InputError, match="input 'picture'; expected image, prompts"):
            Segmenter(setup.node, Sent()).take(event("picture"))


class FakeDora:
    """What :class:`dora.Node` gives: each batch's first event, then the rest of it."""

    def __init__(self, *given: list[dict[str, Any]]) -> None:
        self._given = list(given)

    def next(self) -> dict[str, Any] | None:
        return self._given[0].pop(0) if self._given else None

    def drain(self) -> list[dict[str, Any]]:
        return self._given.pop(0)


class TestEvents:
    CLOSED = {"type": "INPUT_CLOSED", "id": "image"}  # noqa: RUF012
    STOP = {"type": "STOP", "id": "ALL_INPUTS_CLOSED"}  # noqa: RUF012

    def test_the_last_inputs_come_before_the_end(self) -> None:
        node: Any = FakeDora([event("a"), self.STOP, event("b")], [event("c")])
        assert [[each["id"] for each in batch] for batch in batches(node)] == [["a", "b"]]

    def test_one_input_may_end_it(self) -> None:
        given = [event("a"), self.CLOSED, event("b")], [event("c")]
        node: Any = FakeDora(*map(list, given))
        assert len(list(batches(node, until="image"))) == 1
        assert len(list(batches(FakeDora(*map(list, given)), until="labels"))) == 2  # type: ignore[arg-type]

    @pytest.mark.parametrize(("why", "ends"), [("Channel is closed", True), ("oops", False)])
    def test_a_stopped_dataflow_ends_it(
        self, monkeypatch: pytest.MonkeyPatch, why: str, ends: bool
    ) -> None:
        node: Any = FakeDora([self.STOP])

        def drain() -> None:
            raise RuntimeError(f"Could not drain events. {why}")

        monkeypatch.setattr(node, "drain", drain)
        if ends:
            assert list(batches(node)) == [[]]
        else:
            with pytest.raises(RuntimeError, match="oops"):
                list(batches(node))

    def test_faults_are_raised(self) -> None:
        node: Any = FakeDora([{"type": "ERROR", "error": "gone"}])
        with pytest.raises(RuntimeUnavailableError, match="dora failed: gone"):
            list(batches(node))


class TestScript:
    def test_in_the_order_of_the_frames(self) -> None:
        text = '[{"frame": 9, "remove": 1}, {"frame": 0, "add": {"box": [1, 2, 3, 4]}}]'
        assert read_script(text) == [(0, "add", {"box": [1, 2, 3, 4]}), (9, "remove", 1)]
        assert read_script("[]") == []

    @pytest.mark.parametrize("numbered", [True, False])
    def test_frames_without_a_number_are_counted(
        self, monkeypatch: pytest.MonkeyPatch, numbered: bool
    ) -> None:
        images = [event("image", **({"frame": number} if numbered else {})) for number in range(4)]
        node: Any = FakeDora(images[:1], images[1:])
        sent = []
        node.send_output = lambda kind, value: sent.append((kind, value.to_pylist()))
        monkeypatch.setattr(script, "connect", lambda: node)
        steps = [{"frame": 1, "add": {"box": RED_BOX}}, {"frame": 3, "remove": 1}]
        monkeypatch.setenv("SCRIPT", json.dumps([*steps, {"frame": 4, "remove": 2}]))
        script.main()
        assert sent == [("add", [{"box": RED_BOX}]), ("remove", [1])]

    @pytest.mark.parametrize(
        "text", ["x", "3", '[{"frame": 1}]', '[{"add": 1}]', '[{"frame": -1, "add": 1}]', "[1]"]
    )
    def test_what_is_none(self, text: str) -> None:
        with pytest.raises(InputError, match="expected"):
            read_script(text)


def test_a_recording_is_read_back(setup: Setup, tmp_path: Path) -> None:
    sent = Sent()
    segmenter = Segmenter(setup.node, lambda *given: arrays.append(given) or sent(*given))
    arrays: list[Any] = []
    segmenter.take(event("add", pa.array([{"box": RED_BOX, "name": "cup"}])))
    segmenter.take(image_event(frame=0, stamp=1_500_000_000))
    segmenter.step()
    segmenter.tell()
    path = tmp_path / "r.mcap"
    with path.open("wb") as file:
        writer = recorder.Recorder(file)
        inputs = [image_event(stamp=1_500_000_000)]
        inputs += [event(o, v, **m) for o, v, m in arrays if o != "reply"]
        for each in inputs:
            for record, stamp in recorder.records_of(each):
                writer.write(record, stamp)
        writer.close()
    with path.open("rb") as file:
        read = {
            channel.topic: (schema.name, json.loads(message.data), message.publish_time)
            for schema, channel, message in mcap_reader.make_reader(file).iter_messages()
        }
    schema, labels, stamp = read["/labels"]
    assert (schema, stamp) == ("foxglove.RawImage", 1_500_000_000)
    assert labels["timestamp"] == {"sec": 1, "nsec": 500_000_000}
    assert (labels["encoding"], labels["step"]) == ("mono16", 256)
    pixels = np.frombuffer(base64.b64decode(labels["data"]), "<u2").reshape(128, 128)
    assert (SCENE[pixels == 1] == RED).all()
    schema, notes, _ = read["/annotations"]
    assert schema == "foxglove.ImageAnnotations"
    assert [each["text"] for each in notes["texts"]] == ["1 cup"]
    assert notes["points"][0]["points"][2] == {"x": 48.0, "y": 80.0}
    assert read["/image"][1]["format"] == "jpeg"
    assert read["/objects"][1]["found"][0]["area"] == int((pixels == 1).sum())
    assert read["/diagnostics"][1]["frames_segmented"] == 1
    with pytest.raises(InputError, match="input 'x'; expected image, labels"):
        list(recorder.records_of(event("x")))


@pytest.mark.usefixtures("noticed")
def test_frames_that_cannot_be_read_are_left_out_of_a_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    deep, own = image_message(np.zeros((4, 6), np.float32), "32FC1")
    damaged = event("image", pa.array(np.frombuffer(b"no JPEG", np.uint8)), encoding="jpeg")
    given = [damaged, event("image", deep, **own), image_event(), damaged, damaged]
    monkeypatch.setattr(recorder, "connect", lambda: FakeDora(given))
    monkeypatch.setenv("RECORD", str(tmp_path / "r.mcap"))
    recorder.main()
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 4
    assert all(line.startswith("warning: input 'image' was left out: ") for line in told[:3])
    assert told[3].startswith("warning: 1 more like this: input 'image' was left out: ")
    with (tmp_path / "r.mcap").open("rb") as file:
        topics = [each.topic for _, each, _ in mcap_reader.make_reader(file).iter_messages()]
    assert topics == ["/image"]
