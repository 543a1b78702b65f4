"""A stand-in for rclpy: what samdeploy_ros uses of it, by its documented interface. Nothing is sent
anywhere; tests call the callbacks."""

from rclpy.node import Node


def init(*, args: list[str] | None = None) -> None: ...


def spin(node: Node) -> None:
    raise KeyboardInterrupt


def try_shutdown() -> None: ...
