"""What generated ROS messages have in common: defaults, and setters that refuse other types."""

from __future__ import annotations

from typing import Any, get_type_hints

_PLAIN = (bool, int, float, str, bytes)


class Message:
    """Fields of plain types take values of just that type, as rclpy's do."""

    def __setattr__(self, name: str, value: Any) -> None:
        hints = get_type_hints(type(self))
        if name not in hints:
            raise AttributeError(f"{type(self).__name__} has no field '{name}'")
        kind = hints[name]
        if kind in _PLAIN and type(value) is not kind:
            raise AssertionError(f"{name}={value!r}; expected {kind.__name__}")
        super().__setattr__(name, value)
