from dataclasses import dataclass, field

from builtin_interfaces.msg import Time
from ros_message import Message


@dataclass
class Header(Message):
    stamp: Time = field(default_factory=Time)
    frame_id: str = ""
