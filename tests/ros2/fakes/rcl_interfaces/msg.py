from dataclasses import dataclass

from ros_message import Message


@dataclass
class ParameterDescriptor(Message):
    """Without its fields that nobody here touches."""

    description: str = ""
