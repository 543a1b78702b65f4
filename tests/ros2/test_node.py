"""The ROS 2 node with stand-ins for ROS: states, topics, services, parameters, faults."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from samdeploy.robots.node import Node
from tests.robots.painted_node import Setup
from tests.tracking.painted import GREEN, RED, paint

RED_BOX, GREEN_BOX = (16, 48, 48, 80), (80, 16, 104, 40)
SCENE = paint((RED_BOX, RED), (GREEN_BOX, GREEN))
STATE: Any = ("", 0)


class Robot:
    """The node with what it has created in reach."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **parameters: Any) -> None:
        import rclpy.node
        from samdeploy_ros.node import SegmenterNode

        self.setup = Setup()
        self.settings: Any = None

        def open_painted(settings: Any) -> Node:
            self.settings = settings
            return self.setup.node

        monkeypatch.setattr(Node, "open", open_painted)
        monkeypatch.setattr(rclpy.node.Node, "given", {"model": "painted", **parameters})
        self.node = SegmenterNode()

    def started(self) -> Robot:
        """After configuring and activating."""
        success = self.answers("SUCCESS")
        assert self.node.on_configure(STATE) is success
        assert self.node.on_activate(STATE) is success
        return self

    @staticmethod
    def answers(name: str) -> Any:
        from rclpy.lifecycle import TransitionCallbackReturn

        return TransitionCallbackReturn[name]

    def named(self, name: Any) -> Any:
        """The subscription, service, timer or publisher of this name."""
        [found] = [
            each
            for each in self.node.entities
            if getattr(each, "name", getattr(each, "topic", None)) == name
        ]
        return found

    def send(self, name: Any, *messages: Any) -> Any:
        return self.named(name).callback(*messages)

    def wait(self, done: Callable[[], object]) -> None:
        for _ in range(500):
            if done():
                return
            time.sleep(0.01)
        pytest.fail("it did not come")

    def results(self, count: int) -> list[Any]:
        """The detections of so many frames."""
        objects = self.named("~/objects").published
        self.wait(lambda: len(objects) >= count)
        return list(objects)

    @property
    def said(self) -> list[tuple[str, str]]:
        return self.node.get_logger().said


@pytest.fixture
def robot(monkeypatch: pytest.MonkeyPatch) -> Any:
    robot = Robot(monkeypatch)
    yield robot
    robot.node.destroy_node()


def image(pixels: Any = SCENE, stamp: int = 0) -> Any:
    from sensor_msgs.msg import Image

    message = Image()
    message.header.frame_id, message.header.stamp.sec = "optical", stamp
    message.height, message.width = pixels.shape[:2]
    message.encoding, message.step = "rgb8", pixels.shape[1] * 3
    message.data = array("B", pixels.tobytes())
    return message


def prompt(box: tuple[float, ...] = (), points: Any = (), labels: Any = (), name: str = "") -> Any:
    from samdeploy_msgs.msg import Prompt
    from vision_msgs.msg import Point2D

    message = Prompt(points=[Point2D(x=x, y=y) for x, y in points], labels=list(labels), name=name)
    if box:
        x1, y1, x2, y2 = map(float, box)
        message.box.size_x, message.box.size_y = x2 - x1, y2 - y1
        message.box.center.position.x = (x1 + x2) / 2
        message.box.center.position.y = (y1 + y2) / 2
    return message


def add(robot: Robot, **given: Any) -> Any:
    from samdeploy_msgs.srv import AddObject

    return robot.send(
        "~/add_object", AddObject.Request(prompt=prompt(**given)), AddObject.Response()
    )


def remove(robot: Robot, id: int) -> Any:
    from samdeploy_msgs.srv import RemoveObject

    return robot.send("~/remove_object", RemoveObject.Request(id=id), RemoveObject.Response())


class TestObjects:
    def test_add_follow_remove(self, robot: Robot) -> None:
        robot.started()
        answer = add(robot, box=RED_BOX, name="cup")
        assert (answer.success, answer.message, answer.id) == (True, "", 1)
        robot.send("image", image(stamp=5))
        [found] = robot.results(1)
        [detection] = found.detections
        assert (found.header.frame_id, found.header.stamp.sec) == ("optical", 5)
        assert (detection.id, detection.results[0].hypothesis.class_id) == ("1", "cup")
        assert 0.9 < detection.results[0].hypothesis.score <= 1
        assert (detection.bbox.center.position.x, detection.bbox.center.position.y) == (32, 64)
        assert (detection.bbox.size_x, detection.bbox.size_y) == (32, 32)
        [labels] = robot.named("~/labels").published
        assert (labels.encoding, labels.step, labels.is_bigendian) == ("16UC1", 256, 0)
        assert labels.header is found.header
        ids = np.frombuffer(labels.data, "<u2").reshape(128, 128)
        assert ids[64, 32] == 1
        assert (SCENE[ids == 1] == RED).all()
        assert remove(robot, 1).success
        assert remove(robot, 1).message == "object 1 is not followed; expected one of: none."
        robot.send("image", image())
        assert robot.results(2)[1].detections == []

    def test_what_does_not_fit_is_answered(self, robot: Robot) -> None:
        robot.started()
        add(robot, box=RED_BOX)
        robot.send("image", image())
        robot.results(1)
        answer = add(robot, points=[(500.0, 3.0)])
        assert not answer.success
        assert answer.message.startswith("point (500, 3) is outside the image")
        assert add(robot).message.startswith("an empty Prompt")

    def test_one_that_ends_is_logged(self, robot: Robot) -> None:
        robot.started()
        add(robot, points=[(1.0, 1.0)], labels=[1])
        robot.send("image", image())
        robot.wait(lambda: robot.said)
        assert robot.said == [("warning", "object 1 ends: its prompt shows no object.")]


class TestPrompts:
    def test_by_topic(self, robot: Robot) -> None:
        from geometry_msgs.msg import Point, PointStamped
        from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

        robot.started()
        robot.send("~/prompt", prompt(box=RED_BOX, name="cup"))
        robot.send("image", image())
        robot.results(1)
        robot.send("~/point", PointStamped(point=Point(x=90.0, y=20.0)))
        robot.send("image", image())
        robot.results(2)
        likely, unlikely = ObjectHypothesisWithPose(), ObjectHypothesisWithPose()
        likely.hypothesis.class_id, likely.hypothesis.score = "leaf", 0.9
        unlikely.hypothesis.class_id, unlikely.hypothesis.score = "pen", 0.1
        given = Detection2D(bbox=prompt(box=GREEN_BOX).box, results=[unlikely, likely])
        robot.send(
            "~/detections", Detection2DArray(detections=[given, Detection2D(bbox=given.bbox)])
        )
        robot.send("image", image())
        names = [
            [each.results[0].hypothesis.class_id for each in found.detections]
            for found in robot.results(3)
        ]
        assert names == [["cup"], [""], ["leaf", ""]]

    def test_bad_ones_are_logged(self, robot: Robot) -> None:
        robot.started()
        add(robot, box=RED_BOX)
        robot.send("image", image())
        robot.results(1)
        robot.send("~/prompt", prompt(points=[(-3.0, 1.0)]))
        [(level, sentence)] = robot.said
        assert level == "warning"
        assert "point (-3, 1) is outside the image" in sentence

    def test_turned_boxes_become_upright_ones_around_them(self, robot: Robot) -> None:
        from samdeploy_ros.conversions import corners_of

        box = prompt(box=(10, 20, 50, 40)).box
        box.center.theta = np.pi / 2
        assert corners_of(box) == pytest.approx((20, 10, 40, 50))


class TestImages:
    def test_compressed_ones(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import io

        from PIL import Image
        from sensor_msgs.msg import CompressedImage

        robot = Robot(monkeypatch, compressed=True).started()
        out = io.BytesIO()
        Image.fromarray(SCENE).save(out, "PNG")
        add(robot, box=RED_BOX)
        robot.send(
            "image/compressed", CompressedImage(format="png", data=array("B", out.getvalue()))
        )
        assert len(robot.results(1)[0].detections) == 1
        robot.node.destroy_node()

    def test_bad_ones_are_in_the_diagnostics(self, robot: Robot) -> None:
        robot.started()
        message = image()
        message.encoding = "64FC7"
        robot.send("image", message)
        robot.wait(lambda: robot.setup.node.diagnosis().values["frames_refused"])
        robot.send(1.0)
        [status] = robot.named("/diagnostics").published[-1].status
        assert (status.level, status.name) == (b"\2", "/segmenter: segmentation")
        assert "encoding '64FC7'; expected mono8" in status.message
        assert status.hardware_id == "cpu"
        values = {each.key: each.value for each in status.values}
        assert (values["frames_refused"], values["provider"]) == ("1", "NumPy")

    @pytest.mark.parametrize(("reliable", "expected"), [(False, "BEST_EFFORT"), (True, "RELIABLE")])
    def test_quality_of_service(
        self, monkeypatch: pytest.MonkeyPatch, reliable: bool, expected: str
    ) -> None:
        robot = Robot(monkeypatch, reliable=reliable).started()
        camera = robot.named("image").qos
        assert (camera.depth, camera.history.name) == (1, "KEEP_LAST")
        assert camera.reliability.name == expected
        robot.node.destroy_node()


class TestStates:
    def test_nothing_is_taken_or_said_while_inactive(self, robot: Robot) -> None:
        robot.started()
        assert robot.node.on_deactivate(STATE) is robot.answers("SUCCESS")
        topics = [each.name for each in robot.node.entities if hasattr(each, "name")]
        assert topics == [1.0, "~/add_object", "~/remove_object"]
        assert not robot.named("~/labels").active
        assert robot.node.on_activate(STATE) is robot.answers("SUCCESS")
        robot.send("image", image())
        robot.results(1)

    @pytest.mark.parametrize("how", ["on_cleanup", "on_shutdown"])
    def test_everything_is_given_back(self, robot: Robot, how: str) -> None:
        robot.started()
        if how == "on_cleanup":
            robot.node.on_deactivate(STATE)
        assert getattr(robot.node, how)(STATE) is robot.answers("SUCCESS")
        assert robot.node.entities == []
        assert robot.setup.model.closed

    def test_what_cannot_be_configured_is_logged(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for parameters, why in (
            ({"model": ""}, "no model; say model="),
            ({"max_objects": 0}, "max_objects=0; expected a whole number from 1"),
            ({"diagnostics_seconds": 0.0}, "diagnostics_seconds=0.0; expected a number"),
        ):
            robot = Robot(monkeypatch, **parameters)
            assert robot.node.on_configure(STATE) is robot.answers("FAILURE")
            [(level, sentence)] = robot.said
            assert (level, sentence[: len(why)]) == ("error", why)
            assert robot.node.entities == []

    def test_a_fault_of_ours_is_told(self, robot: Robot, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("threading.excepthook", lambda args: None)
        robot.started()

        def broken(*given: Any, **named: Any) -> None:
            raise ZeroDivisionError("oops")

        monkeypatch.setattr(robot.setup.node, "step", broken)
        robot.wait(lambda: robot.said)
        robot.send(1.0)
        [status] = robot.named("/diagnostics").published[-1].status
        assert (status.level, "oops" in status.message) == (b"\2", True)

    def test_main_ends_cleanly(self, robot: Robot) -> None:
        from samdeploy_ros.node import main

        main([])


class TestParameters:
    def test_every_setting_is_one_with_its_help(self, robot: Robot) -> None:
        from samdeploy.robots.settings import parameters

        declared = robot.node.declared
        assert {each.name for each in parameters()} < set(declared)
        assert all(descriptor.description for _, descriptor in declared.values())
        assert (declared["device"][0], declared["max_objects"][0]) == ("auto", 16)

    def test_those_not_set_have_their_defaults(self, robot: Robot) -> None:
        from samdeploy.robots.settings import NodeSettings

        robot.node.on_configure(STATE)
        assert robot.settings == NodeSettings("painted")

    def test_those_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        given = {"threads": 2, "image_window": [0.0, 4095.0], "lost_below": 0.25, "device": "cuda"}
        robot = Robot(monkeypatch, **given)
        robot.node.on_configure(STATE)
        settings = robot.settings
        assert (settings.threads, settings.device, settings.track.lost_below) == (2, "cuda", 0.25)
        assert settings.images.window == (0, 4095)
        robot.node.destroy_node()
