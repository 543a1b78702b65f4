from array import array
from dataclasses import dataclass, field
from typing import Any

from ros_message import Message
from std_msgs.msg import Header


@dataclass
class Image(Message):
    header: Header = field(default_factory=Header)
    height: int = 0
    width: int = 0
    encoding: str = ""
    is_bigendian: int = 0
    step: int = 0
    data: Any = field(default_factory=lambda: array("B"))


@dataclass
class CompressedImage(Message):
    header: Header = field(default_factory=Header)
    format: str = ""
    data: Any = field(default_factory=lambda: array("B"))
