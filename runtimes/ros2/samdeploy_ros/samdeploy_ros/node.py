"""The node: configure opens the model and warms it, activate begins to segment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PointStamped
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from samdeploy_msgs.msg import Prompt
from samdeploy_msgs.srv import AddObject, RemoveObject
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Detection2DArray

from samdeploy.errors import InputError, SamDeployError
from samdeploy.limits import number
from samdeploy.robots.messages import CameraFrame, Level, Request, Segmented
from samdeploy.robots.node import Node
from samdeploy_ros.conversions import (
    detections_message,
    label_message,
    pixels_of,
    pixels_of_compressed,
    request_of,
    requests_of,
    status_message,
)
from samdeploy_ros.parameters import declare, settings_of

#: How long the segmenting thread waits for a frame before it looks whether it is to end.
_PATIENCE = 0.1
_RESULTS = 5


class SegmenterNode(LifecycleNode):
    """Subscribes to ``image``; publishes ``~/labels``, ``~/objects`` and ``/diagnostics``; follows
    what ``~/add_object`` and ``~/remove_object`` name; answers ``~/prompt``, ``~/point`` and
    ``~/detections`` in the next image. Callbacks only hand over, one thread segments."""

    def __init__(self) -> None:
        super().__init__("segmenter")
        declare(self)
        self._segmenter: Node | None = None
        self._entities: list[tuple[Callable[[Any], object], Any]] = []  # how to destroy, and what
        self._subscriptions_of_topics: list[Any] = []
        self._active = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure = ""  # of that thread

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the model. What is wrong is logged: rclpy would swallow it."""
        try:
            settings = settings_of(self)
            period = number("diagnostics_seconds", self._value("diagnostics_seconds"), 0.01)
            node = Node.open(settings)
        except SamDeployError as error:
            self.get_logger().error(str(error))
            return TransitionCallbackReturn.FAILURE
        self._segmenter, self._settings = node, settings
        self._labels = self.create_lifecycle_publisher(Image, "~/labels", _RESULTS)
        self._objects = self.create_lifecycle_publisher(Detection2DArray, "~/objects", _RESULTS)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", _RESULTS)
        timer = self.create_timer(period, self._tell)
        add = self.create_service(AddObject, "~/add_object", self._add)
        remove = self.create_service(RemoveObject, "~/remove_object", self._remove)
        self._entities = [
            (self.destroy_service, remove),
            (self.destroy_service, add),
            (self.destroy_timer, timer),
            (self.destroy_publisher, self._diagnostics),
            (self.destroy_lifecycle_publisher, self._objects),
            (self.destroy_lifecycle_publisher, self._labels),
        ]
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe, and begin to segment."""
        camera = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=1,  # the newest frame counts
            reliability=ReliabilityPolicy.RELIABLE
            if self._value("reliable")
            else ReliabilityPolicy.BEST_EFFORT,
        )
        kind, topic, offer = (
            (CompressedImage, "image/compressed", self._offer_compressed)
            if self._value("compressed")
            else (Image, "image", self._offer)
        )
        self._subscriptions_of_topics = [
            self.create_subscription(kind, topic, offer, camera),
            self.create_subscription(Prompt, "~/prompt", self._prompt, 10),
            self.create_subscription(PointStamped, "~/point", self._point, 10),
            self.create_subscription(Detection2DArray, "~/detections", self._detect, 1),
        ]
        answer = super().on_activate(state)  # before anything is published
        self._failure = ""
        self._active.set()
        self._thread = threading.Thread(target=self._segment, name="samdeploy")
        self._thread.start()
        return answer

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Finish the frame that has begun, and take no more."""
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close the model."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop, and close the model."""
        self._stop()
        self._release()
        return super().on_shutdown(state)

    def destroy_node(self) -> None:
        """End everything, whatever state it is in."""
        self._stop()
        self._release()
        super().destroy_node()

    def _value(self, name: str) -> Any:
        return self.get_parameter(name).value

    @property
    def _opened(self) -> Node:
        if self._segmenter is None:
            raise InputError("the node is not configured; configure it first.")
        return self._segmenter

    def _stop(self) -> None:
        self._active.clear()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        for each in self._subscriptions_of_topics:
            self.destroy_subscription(each)
        self._subscriptions_of_topics = []

    def _release(self) -> None:
        for destroy, entity in self._entities:
            destroy(entity)
        self._entities = []
        if self._segmenter is not None:
            self._segmenter.close()
            self._segmenter = None

    def _segment(self) -> None:
        try:
            while self._active.is_set():
                self._opened.step(self._publish, seconds=_PATIENCE)
        except Exception as error:  # nobody else would see it, and the node would seem to be well
            self._failure = f"segmenting has ended: {error!r}; deactivate and activate the node."
            self.get_logger().fatal(self._failure)
            raise

    def _publish(self, result: Segmented) -> None:
        self._labels.publish(label_message(result))
        self._objects.publish(detections_message(result))
        for id, why in result.ended.items():
            self.get_logger().warning(f"object {id} ends: {why}")

    def _tell(self) -> None:
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        name = f"{self.get_fully_qualified_name()}: segmentation"
        told = self._opened.diagnosis()
        if self._failure:
            told = replace(told, level=Level.ERROR, message=self._failure)
        message.status = [status_message(told, name)]
        self._diagnostics.publish(message)

    def _offer(self, message: Image) -> None:
        self._opened.offer(CameraFrame(partial(pixels_of, message), message.header))

    def _offer_compressed(self, message: CompressedImage) -> None:
        read = partial(pixels_of_compressed, message, self._settings.images)
        self._opened.offer(CameraFrame(read, message.header))

    def _prompt(self, message: Prompt) -> None:
        self._ask([request_of(message)])

    def _point(self, message: PointStamped) -> None:
        self._ask([Request(points=[(message.point.x, message.point.y)])])

    def _detect(self, message: Detection2DArray) -> None:
        self._ask(requests_of(message))

    def _ask(self, requests: list[Request]) -> None:
        try:
            self._opened.prompt(requests)
        except SamDeployError as error:
            self.get_logger().warning(str(error))

    def _add(self, request: AddObject.Request, response: AddObject.Response) -> AddObject.Response:
        try:
            response.id = self._opened.add(request_of(request.prompt))
            response.success = True
        except SamDeployError as error:
            response.success, response.message = False, str(error)
        return response

    def _remove(
        self, request: RemoveObject.Request, response: RemoveObject.Response
    ) -> RemoveObject.Response:
        try:
            self._opened.remove(request.id)
            response.success = True
        except SamDeployError as error:
            response.success, response.message = False, str(error)
        return response


def main(args: list[str] | None = None) -> None:
    """``ros2 run samdeploy_ros segmenter``."""
    rclpy.init(args=args)
    node = SegmenterNode()
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
