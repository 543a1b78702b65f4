from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple

from rclpy.node import Node, Publisher
from rclpy.qos import QoSProfile


class TransitionCallbackReturn(Enum):
    SUCCESS = 0
    FAILURE = 1
    ERROR = 2


class LifecycleState(NamedTuple):
    label: str
    state_id: int


class LifecyclePublisher(Publisher):
    """Says nothing while it is not active, as rclpy's."""

    active = False

    def publish(self, message: Any) -> None:
        if self.active:
            super().publish(message)


class LifecycleNode(Node):
    def create_lifecycle_publisher(
        self, kind: type[Any], topic: str, qos: QoSProfile | int
    ) -> LifecyclePublisher:
        publisher = LifecyclePublisher(topic)
        self.entities.append(publisher)
        return publisher

    def destroy_lifecycle_publisher(self, publisher: LifecyclePublisher) -> bool:
        return self.destroy_publisher(publisher)

    def _activate(self, active: bool) -> TransitionCallbackReturn:
        for each in self.entities:
            if isinstance(each, LifecyclePublisher):
                each.active = active
        return TransitionCallbackReturn.SUCCESS

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._activate(True)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._activate(False)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        return TransitionCallbackReturn.SUCCESS
