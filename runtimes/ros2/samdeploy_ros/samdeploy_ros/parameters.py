"""ROS parameters: the settings of a node, which have one list in samdeploy, and what is of ROS."""

from __future__ import annotations

from dataclasses import MISSING
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node

from samdeploy.robots.settings import NodeSettings, Parameter, parameters

#: A ROS parameter has a type and a value; these stand for "not set".
_UNSET: dict[Any, Any] = {str: "", int: 0, list: [0.0, 0.0]}

OF_ROS = (
    Parameter("compressed", bool, False, "subscribe to sensor_msgs/CompressedImage"),
    Parameter("reliable", bool, False, "ask the camera to repeat what is lost on the way"),
    Parameter("diagnostics_seconds", float, 1.0, "seconds between diagnostics"),
)


def declare(node: Node) -> None:
    """Declare every parameter with its help; none can be set while the model is open."""
    for each in (*parameters(), *OF_ROS):
        unset = each.default is None or each.default is MISSING
        value = _UNSET[each.kind] if unset else each.default
        node.declare_parameter(each.name, value, ParameterDescriptor(description=each.help))


def settings_of(node: Node) -> NodeSettings:
    """The settings that the parameters say.

    Raises:
        InputError: a value out of range, or no model.
    """
    values = {}
    for each in parameters():
        value = node.get_parameter(each.name).value
        if each.kind is list:
            value = list(value)
        if each.default is not None or value != _UNSET[each.kind]:
            values[each.name] = value
    return NodeSettings.from_names(values)
