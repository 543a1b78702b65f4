from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from builtin_interfaces.msg import Time
from rcl_interfaces.msg import ParameterDescriptor

from rclpy.qos import QoSProfile


@dataclass
class Parameter:
    name: str
    value: Any


@dataclass(eq=False)
class Publisher:
    topic: str
    published: list[Any] = field(default_factory=list)

    def publish(self, message: Any) -> None:
        self.published.append(message)


@dataclass(eq=False)
class Entity:
    """A subscription, a service or a timer: ``name`` is its topic, its service, or its period."""

    name: str | float
    callback: Callable[..., Any]
    qos: QoSProfile | int | None = None


class Logger:
    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def warning(self, message: str) -> None:
        self.said.append(("warning", message))

    def error(self, message: str) -> None:
        self.said.append(("error", message))

    def fatal(self, message: str) -> None:
        self.said.append(("fatal", message))


class Moment:
    def to_msg(self) -> Time:
        return Time(sec=7)


class Clock:
    def now(self) -> Moment:
        return Moment()


class Node:
    """``given`` are the parameters that a launch file would set."""

    given: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, node_name: str) -> None:
        self.name = node_name
        self.declared: dict[str, tuple[Any, ParameterDescriptor]] = {}
        self.entities: list[Any] = []
        self._logger = Logger()

    def declare_parameter(self, name: str, value: Any, descriptor: ParameterDescriptor) -> None:
        assert name not in self.declared
        given = self.given.get(name, value)
        assert type(given) is type(value), f"{name} is {type(value)}"
        self.declared[name] = given, descriptor

    def get_parameter(self, name: str) -> Parameter:
        return Parameter(name, self.declared[name][0])

    def create_publisher(self, kind: type[Any], topic: str, qos: QoSProfile | int) -> Publisher:
        self.entities.append(Publisher(topic))
        return self.entities[-1]  # type: ignore[no-any-return]

    def create_subscription(
        self, kind: type[Any], topic: str, callback: Callable[[Any], None], qos: QoSProfile | int
    ) -> Entity:
        return self._create(topic, callback, qos)

    def create_service(self, kind: type[Any], name: str, callback: Callable[..., Any]) -> Entity:
        return self._create(name, callback)

    def create_timer(self, seconds: float, callback: Callable[[], None]) -> Entity:
        return self._create(seconds, callback)

    def _create(
        self, name: str | float, callback: Callable[..., Any], qos: QoSProfile | int | None = None
    ) -> Entity:
        self.entities.append(Entity(name, callback, qos))
        return self.entities[-1]  # type: ignore[no-any-return]

    def destroy_publisher(self, publisher: Publisher) -> bool:
        self.entities.remove(publisher)
        return True

    def destroy_subscription(self, subscription: Entity) -> bool:
        self.entities.remove(subscription)
        return True

    def destroy_service(self, service: Entity) -> bool:
        self.entities.remove(service)
        return True

    def destroy_timer(self, timer: Entity) -> bool:
        self.entities.remove(timer)
        return True

    def destroy_node(self) -> None: ...

    def get_logger(self) -> Logger:
        return self._logger

    def get_clock(self) -> Clock:
        return Clock()

    def get_fully_qualified_name(self) -> str:
        return f"/{self.name}"
